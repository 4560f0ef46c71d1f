"""A Llama-family transformer in plain PyTorch: token ids and positions in, hidden states out.

There is no batch dimension: T is every token of the step, of however many sequences. What a token
may look at is the business of `Attend`; which low-rank update it gets is the business of
`LayerAdapters`; this file knows neither sequences nor adapters. Weights are fused, one product for
q, k and v and one for gate and up, and carry no gradient: only adapters are trained.

Dimension key: T tokens in this step, H query heads, G key-value heads, D head size, E hidden width,
F feed-forward width, V vocabulary, I/O features in and out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, cast, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from descant.model.config import SITE_MODULES, ModelConfig, RopeConfig, Site
from descant.model.linear import Linear, PackedLinear, can_pack, split
from descant.model.ops import Ops, Rotation, choose_ops
from descant.model.quantization import Int8Linear, quantize
from descant.schema import Quantization


@runtime_checkable
class Attend(Protocol):
    """Attention over whatever context the caller keeps."""

    def __call__(
        self,
        layer: int,
        q: Float[Tensor, "T H D"],
        k: Float[Tensor, "T G D"],
        v: Float[Tensor, "T G D"],
    ) -> Float[Tensor, "T H D"]:
        """Return the attention output of each token; q and k are already rotated.

        The inputs may be views into one fused tensor: strided, and not to be written to.
        """
        ...


@runtime_checkable
class LayerAdapters(Protocol):
    """Low-rank updates for the tokens of one step."""

    def apply(
        self, layer: int, site: Site, x: Float[Tensor, "T I"], y: Float[Tensor, "T O"]
    ) -> Float[Tensor, "T O"]:
        """Return y, the base output at this site for input x, plus each token's update.

        y may be changed in place: nothing else holds it.
        """
        ...


class RMSNorm(nn.Module):
    """Root-mean-square normalization over the last dimension, computed in float32."""

    def __init__(self, weight: Float[Tensor, " E"], eps: float):
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.eps = eps

    def forward(self, x: Float[Tensor, "T *heads E"], ops: Ops) -> Float[Tensor, "T *heads E"]:
        """Return x / sqrt(mean(x**2) + eps) * weight."""
        return ops.rms_norm(x, self.weight, self.eps)

    def add(
        self, x: Float[Tensor, "T E"], update: Float[Tensor, "T E"], ops: Ops
    ) -> tuple[Float[Tensor, "T E"], Float[Tensor, "T E"]]:
        """Return x + update, and its norm."""
        return ops.add_rms_norm(x, update, self.weight, self.eps)


class Layer(nn.Module):
    """Attention and feed-forward of one layer, each around a residual.

    Norms are computed where their input is added up: a layer gets its input normalized, and ends
    with the norm of whatever follows.
    """

    def __init__(self, index: int, config: ModelConfig, dtype: torch.dtype, device: str):
        super().__init__()
        self.index = index
        self.head_dim = config.head_dim
        self.attention_norm = _norm(config.hidden_size, config, dtype, device)
        self.qkv = _linear("qkv", config, dtype, device)
        self.q_norm = _norm(config.head_dim, config, dtype, device) if config.qk_norm else None
        self.k_norm = _norm(config.head_dim, config, dtype, device) if config.qk_norm else None
        self.o = _linear("o", config, dtype, device)
        self.feed_forward_norm = _norm(config.hidden_size, config, dtype, device)
        self.gate_up = _linear("gate_up", config, dtype, device)
        self.down = _linear("down", config, dtype, device)

    def forward(
        self,
        hidden: Float[Tensor, "T E"],
        normed: Float[Tensor, "T E"],
        rotation: Rotation,
        attend: Attend,
        adapters: LayerAdapters | None,
        next_norm: RMSNorm,
        ops: Ops,
    ) -> tuple[Float[Tensor, "T E"], Float[Tensor, "T E"]]:
        """Return the hidden states after this layer, and `next_norm` of them."""
        q, k, v = self._project("qkv", normed, adapters)
        q, k, v = (x.view(len(x), -1, self.head_dim) for x in (q, k, v))
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q, ops), self.k_norm(k, ops)
        x = attend(self.index, ops.rotate(q, rotation), ops.rotate(k, rotation), v)
        (x,) = self._project("o", x.reshape(len(hidden), -1), adapters)
        hidden, normed = self.feed_forward_norm.add(hidden, x, ops)
        (x,) = self._project("down", self._gated(normed, adapters, ops), adapters)
        return next_norm.add(hidden, x, ops)

    def linear(self, site: Site) -> Linear:
        """Return the fused linear layer at this site, as long as it has not been quantized."""
        linear = getattr(self, site)
        plain = linear.plain if isinstance(linear, PackedLinear) else linear
        assert isinstance(plain, Linear), "the model is quantized"
        return plain

    def replace(self, make: Callable[[Linear], PackedLinear | Int8Linear]) -> None:
        """Replace each linear layer by what is made of it."""
        for site in SITE_MODULES:
            setattr(self, site, make(self.linear(site)))

    def _gated(
        self, x: Float[Tensor, "T E"], adapters: LayerAdapters | None, ops: Ops
    ) -> Float[Tensor, "T F"]:
        """Return silu(gate) * up."""
        if adapters is None:
            linear: Linear | PackedLinear | Int8Linear = self.gate_up
            return linear.gated(x, ops)
        return ops.gate(*self._project("gate_up", x, adapters))

    def _project(
        self, site: Site, x: Float[Tensor, "T I"], adapters: LayerAdapters | None
    ) -> Sequence[Float[Tensor, "T _"]]:
        """Return the output of each module of this site."""
        linear: Linear | PackedLinear | Int8Linear = getattr(self, site)
        if adapters is None:
            return linear.parts(x)
        return split(adapters.apply(self.index, site, x, linear.forward(x)), linear.widths)


class Transformer(nn.Module):
    """The model: `forward` gives final hidden states, `logits` multiplies them by the vocabulary."""

    def __init__(self, config: ModelConfig, dtype: torch.dtype, device: str = "cpu"):
        """Allocate weights without values; `descant.model.weights` fills them."""
        super().__init__()
        self.config = config
        table = torch.empty(config.vocab_size, config.hidden_size, dtype=dtype, device=device)
        self.embedding = nn.Parameter(table, requires_grad=False)
        self.layers = nn.ModuleList(
            Layer(index, config, dtype, device) for index in range(config.num_layers)
        )
        self.norm = _norm(config.hidden_size, config, dtype, device)
        self.head = None if config.tie_embeddings else Linear(torch.empty_like(table))
        self.packed_head: PackedLinear | Int8Linear | None = None
        self.quantization: Quantization | None = None
        self.ops: Ops = choose_ops(torch.device(device), dtype)
        # A plain attribute: these stay float32 whatever the dtype of the weights.
        self.frequencies: Tensor = rope_frequencies(config.rope, config.head_dim).to(device)

    @property
    def _vocabulary(self) -> Float[Tensor, "V E"]:
        return self.embedding if self.head is None else self.head.weight

    def blocks(self) -> Iterator[Layer]:
        """Yield the layers in order."""
        for layer in self.layers:
            yield cast("Layer", layer)

    @property
    def dtype(self) -> torch.dtype:
        """The type of weights and activations."""
        return self.embedding.dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.embedding.device

    def forward(
        self,
        token_ids: Int[Tensor, " T"],
        positions: Int[Tensor, " T"],
        attend: Attend,
        adapters: LayerAdapters | None = None,
    ) -> Float[Tensor, "T E"]:
        """Return the hidden state of each token after the last norm."""
        hidden = F.embedding(token_ids, self.embedding)
        rotation = self.rotation(positions)
        layers = list(self.blocks())
        normed: Tensor = layers[0].attention_norm(hidden, self.ops)
        next_norms = [*(layer.attention_norm for layer in layers[1:]), self.norm]
        for layer, next_norm in zip(layers, next_norms, strict=True):
            hidden, normed = layer.forward(
                hidden, normed, rotation, attend, adapters, next_norm, self.ops
            )
        return normed

    def logits(
        self, hidden: Float[Tensor, "N E"], rows: Int[Tensor, " R"] | None = None
    ) -> Float[Tensor, "N V_or_R"]:
        """Return float32 logits of the whole vocabulary, or of the vocabulary rows named.

        With `rows` the product itself is in float32, so that close labels are told apart.
        """
        if rows is not None:
            return F.linear(hidden.float(), self._vocabulary[rows].float())
        if self.packed_head is not None:
            return cast("Tensor", self.packed_head(hidden)).float()
        return F.linear(hidden, self._vocabulary).float()

    def prepack(self) -> bool:
        """Repack weights for steps of few tokens on a CPU; return whether that was possible.

        Long steps and gradients go through the plain weights, which stay beside the packed ones.
        Does nothing on other devices and dtypes.
        """
        if not can_pack(self.embedding):
            return False
        for layer in self.blocks():
            layer.replace(PackedLinear)
        self.packed_head = PackedLinear(Linear(self._vocabulary))
        return True

    def quantize(self, kind: Quantization) -> None:
        """Put int8 weights in the place of every linear layer's, and beside the vocabulary table.

        The table itself stays: tokens are looked up in it, and so are single rows. The product with
        the whole of it is always ``int8``, since rounded activations would show in every logit.
        """
        for layer in self.blocks():
            layer.replace(lambda linear: quantize(linear, kind))
        self.packed_head = quantize(Linear(self._vocabulary), "int8")
        self.quantization = kind

    def prepare(self, quantization: Quantization | None) -> None:
        """Bring the weights into the form that serves fastest: repacked, or quantized."""
        if quantization is None:
            self.prepack()
        else:
            self.quantize(quantization)

    def rotation(self, positions: Int[Tensor, " T"]) -> Rotation:
        """Return the rotary table for these positions, in the model's dtype."""
        angles = positions.to(torch.float32)[:, None] * self.frequencies
        cos, sin = angles.cos(), angles.sin()
        return Rotation(
            torch.cat([cos, cos], -1).to(self.dtype)[:, None],
            torch.cat([-sin, sin], -1).to(self.dtype)[:, None],
        )


def rope_frequencies(rope: RopeConfig, head_dim: int) -> Float[Tensor, " half"]:
    """Return the angle per position of each pair of dimensions, in radians."""
    exponents = torch.arange(0, head_dim, 2, dtype=torch.int64).to(torch.float32) / head_dim
    frequencies = 1.0 / (rope.theta**exponents)
    if rope.scaling == "linear":
        return frequencies / rope.factor
    if rope.scaling == "llama3":
        return _llama3_frequencies(frequencies, rope)
    return frequencies


def _llama3_frequencies(frequencies: Tensor, rope: RopeConfig) -> Tensor:
    # Long waves are stretched by the factor, short ones kept, those between blended.
    turns = rope.original_max_positions * frequencies / (2 * math.pi)
    kept = (turns - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor)
    kept = kept.clamp(0.0, 1.0)
    return kept * frequencies + (1 - kept) * frequencies / rope.factor


def _linear(site: Site, config: ModelConfig, dtype: torch.dtype, device: str) -> Linear:
    modules = SITE_MODULES[site]
    widths = [config.out_features(module) for module in modules]
    weight = torch.empty(sum(widths), config.in_features(modules[0]), dtype=dtype, device=device)
    has_bias = site == "qkv" and config.qkv_bias
    bias = torch.empty(sum(widths), dtype=dtype, device=device) if has_bias else None
    return Linear(weight, bias, widths)


def _norm(width: int, config: ModelConfig, dtype: torch.dtype, device: str) -> RMSNorm:
    return RMSNorm(torch.empty(width, dtype=dtype, device=device), config.norm_eps)
