"""Linear layers with int8 weights, and the products behind them.

A weight has one symmetric scale an output channel. Where the processor multiplies bytes (AMX, VNNI),
sums are whole numbers, so a token's output is the same bits whatever else is in the step: on AMX tiles
in C++, else in oneDNN. Activations go in as one byte each (``w8a8``) or, where they keep their
precision (``int8``), as two: an upper and a lower digit to base 256, further rows of the same product.
Elsewhere the plain twin dequantizes the weight in every call.

Kinds and per-token scales as in LLM.int8() (arXiv 2208.07339) and ZeroQuant (arXiv 2206.01861),
without outlier columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int8, UInt8
from torch import Tensor, nn

from descant.model.linear import Linear, split
from descant.model.native import has_amx, load_native
from descant.model.ops import Ops
from descant.schema import Quantization

_LARGEST = 127
_ROWS_AT_ONCE = 4096

# Bounds what the float32 sums of a long step take, and keeps them in the processor's cache.
_TOKENS_AT_ONCE = 512


class Int8Weight(NamedTuple):
    """A weight of which row o stands for values[o] * scale[o]."""

    values: Int8[Tensor, "O I"]
    scale: Float[Tensor, " O"]
    """float32"""


@runtime_checkable
class Product(Protocol):
    """x @ weight.T by an int8 weight."""

    def __call__(self, x: Float[Tensor, "T I"]) -> Float[Tensor, "T O"]:
        """Return the product."""
        ...


class Int8Linear(nn.Module):
    """A frozen linear layer with an int8 weight; it gives no gradient."""

    def __init__(self, linear: Linear, product: Product):
        """`product` multiplies by the weight of `linear`, which is not kept."""
        super().__init__()
        self.product = product
        self.bias = linear.bias
        self.widths = linear.widths

    def forward(self, x: Float[Tensor, "T I"]) -> Float[Tensor, "T O"]:
        """Return x @ weight.T + bias."""
        needs_gradient = x.requires_grad and torch.is_grad_enabled()
        # The products have no backward and would give no gradient without an error.
        assert not needs_gradient, "a quantized model cannot train"
        y = self.product(x)
        return y if self.bias is None else y + self.bias

    def parts(self, x: Float[Tensor, "T I"]) -> Sequence[Float[Tensor, "T _"]]:
        """Return the output of each module."""
        return split(self.forward(x), self.widths)

    def gated(self, x: Float[Tensor, "T I"], ops: Ops) -> Float[Tensor, "T F"]:
        """Return silu(first) * second of two modules."""
        return ops.gate(*self.parts(x))


class PlainProduct:
    """Dequantizes the weight, then multiplies: runs anywhere, and is the twin of `TwoByteProduct`.

    Semantics:
        y[t, o] = sum_i x[t, i] values[o, i] scale[o]
    """

    def __init__(self, weight: Int8Weight):
        self.weight = weight

    def __call__(self, x: Float[Tensor, "T I"]) -> Float[Tensor, "T O"]:
        """See `Product`."""
        values, scale = self.weight
        return F.linear(x, values.to(x.dtype).mul_(scale[:, None]))


class PlainByteProduct(PlainProduct):
    """Rounds activations to bytes and back first: the twin of `ByteProduct`."""

    def __call__(self, x: Float[Tensor, "T I"]) -> Float[Tensor, "T O"]:
        """See `Product`."""
        digit, scale = to_byte(x)
        return super().__call__(((digit.float() - 128) * scale).to(x.dtype))


class OneDnnProduct:
    """A weight in oneDNN's layout for products with unsigned bytes.

    One token reads every weight once, so that blocks save nothing: in bfloat16 it goes through one
    C++ operation over the plain weight, which is kept for that.
    """

    digits: Literal[1, 2]
    """Bytes of an activation."""

    def __init__(self, weight: Int8Weight):
        # Signed activations would run on processors without AMX too, a thousand times slower.
        self._packed = torch.ops.onednn.qlinear_prepack(weight.values, None)
        self._scale = weight.scale
        self._zero_points = torch.zeros(len(weight.scale), dtype=torch.int64)
        self._values = weight.values if load_native() else None
        self._sums = weight.values.sum(-1, dtype=torch.int32)

    def __call__(self, x: Float[Tensor, "T I"]) -> Float[Tensor, "T O"]:
        """See `Product`."""
        if len(x) == 1 and self._values is not None and x.dtype == torch.bfloat16:
            product = torch.ops.descant.byte_row.default
            row: Tensor = product(x, self._values, self._scale, self._sums, self.digits == 2)
            return row
        if len(x) <= _TOKENS_AT_ONCE:
            return self._multiply(x)
        return torch.cat([self._multiply(part) for part in x.split(_TOKENS_AT_ONCE)])

    def _multiply(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def _digit_sums(self, digits: UInt8[Tensor, "M I"]) -> Float[Tensor, "M O"]:
        """Return sum_i (digits[m, i] - 128) values[o, i] scale[o]."""
        product = torch.ops.onednn.qlinear_pointwise.default
        weight = (self._packed, self._scale, self._zero_points)
        # The activations' scale here is one for all tokens; theirs are applied by the caller.
        y: Tensor = product(digits, 1.0, 128, *weight, None, 1.0, 0, torch.float32, "none", [], "")
        return y


class ByteProduct(OneDnnProduct):
    """Activations of one byte, rounded to 1/127 of the token's largest."""

    digits = 1

    def _multiply(self, x: Tensor) -> Tensor:
        digit, scale = to_byte(x)
        return self._digit_sums(digit).mul_(scale).to(x.dtype)


class TwoByteProduct(OneDnnProduct):
    """Activations of two bytes, rounded to 1/32512 of the token's largest."""

    digits = 2

    def _multiply(self, x: Tensor) -> Tensor:
        high, low, scale = to_two_bytes(x)
        high_sums, low_sums = self._digit_sums(torch.cat([high, low])).tensor_split(2)
        return torch.add(low_sums, high_sums, alpha=256).mul_(scale).to(x.dtype)


class TiledByteProduct:
    """AMX tiles of bytes, read in order; activations of one byte. Its twin is `PlainByteProduct`."""

    def __init__(self, weight: Int8Weight):
        self.tiles = to_byte_tiles(weight.values)
        self.scale = weight.scale

    def __call__(self, x: Float[Tensor, "T I"]) -> Float[Tensor, "T O"]:
        """See `Product`."""
        y: Tensor = torch.ops.descant.tile_bytes.default(x, self.tiles, self.scale)
        return y


class TiledTwoByteProduct(TiledByteProduct):
    """AMX tiles of bytes; activations of two bytes. Its twin is `PlainProduct`."""

    def __call__(self, x: Float[Tensor, "T I"]) -> Float[Tensor, "T O"]:
        """See `Product`."""
        y: Tensor = torch.ops.descant.tile_two_bytes.default(x, self.tiles, self.scale)
        return y


def to_byte_tiles(values: Int8[Tensor, "O I"]) -> Int8[Tensor, "O16 I64 16 16 4"]:
    """Cut into tiles of 16 outputs by 64 inputs; four inputs of an output are neighbours."""
    outputs, inputs = values.shape
    tiles = values.view(outputs // 16, 16, inputs // 64, 16, 4)
    return tiles.permute(0, 2, 3, 1, 4).contiguous()


def has_byte_tiles(weight: Float[Tensor, "O I"]) -> bool:
    """Return whether products by this weight can go through the processor's tiles."""
    outputs, inputs = weight.shape
    fits = outputs % 32 == 0 and inputs % 64 == 0
    return fits and has_amx(weight.device, weight.dtype)


_TILED: Mapping[Quantization, type[TiledByteProduct]] = {
    "int8": TiledTwoByteProduct,
    "w8a8": TiledByteProduct,
}
_PLAIN: Mapping[Quantization, type[PlainProduct]] = {"int8": PlainProduct, "w8a8": PlainByteProduct}
_ONEDNN: Mapping[Quantization, type[OneDnnProduct]] = {"int8": TwoByteProduct, "w8a8": ByteProduct}


def quantize(linear: Linear, kind: Quantization) -> Int8Linear:
    """Return the layer with its weight in int8, multiplied the best way this machine has."""
    weight = quantize_channels(linear.weight.detach())
    if has_byte_tiles(linear.weight):
        return Int8Linear(linear, _TILED[kind](weight))
    products = _ONEDNN if has_byte_products(linear.weight.device) else _PLAIN
    return Int8Linear(linear, products[kind](weight))


def has_byte_products(device: torch.device) -> bool:
    """Return whether oneDNN multiplies bytes here without intermediate sums that overflow."""
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    # Absent from builds for other processors.
    has_operation = hasattr(torch.ops.onednn, "qlinear_pointwise")
    return has_operation and bool(torch.cpu._is_vnni_supported())


def quantize_channels(weight: Float[Tensor, "O I"]) -> Int8Weight:
    """Return each row as whole numbers of its largest magnitude's 127th part."""
    # In parts: a vocabulary in float32 would be the largest tensor of the whole process.
    parts = [_quantize_rows(rows) for rows in weight.split(_ROWS_AT_ONCE)]
    return Int8Weight(
        torch.cat([part.values for part in parts]), torch.cat([part.scale for part in parts])
    )


def _quantize_rows(rows: Float[Tensor, "O I"]) -> Int8Weight:
    scale = _scale(rows, _LARGEST)
    return Int8Weight((rows / scale).round_().to(torch.int8), scale[:, 0])


def to_byte(x: Float[Tensor, "T I"]) -> tuple[UInt8[Tensor, "T I"], Float[Tensor, "T 1"]]:
    """Return a digit of each activation and the scale of each token.

    Semantics:
        x ~ (digit - 128) * scale
    """
    scale = _scale(x, _LARGEST)
    # A half added and the rest cut off: one pass less than rounding.
    return (x / scale).add_(128.5).to(torch.uint8), scale


def to_two_bytes(
    x: Float[Tensor, "T I"],
) -> tuple[UInt8[Tensor, "T I"], UInt8[Tensor, "T I"], Float[Tensor, "T 1"]]:
    """Return an upper and a lower digit of each activation and the scale of each token.

    Semantics:
        x ~ (256 (high - 128) + (low - 128)) * scale
    """
    scale = _scale(x, _LARGEST * 256)
    shifted = (x / scale).add_(128 * 256 + 128.5)
    high = (shifted / 256).to(torch.uint8)
    return high, shifted.sub_(high, alpha=256).to(torch.uint8), scale


def _scale(x: Float[Tensor, "T I"], largest: int) -> Float[Tensor, "T 1"]:
    """Return what to divide each row by, so that its largest magnitude becomes `largest`."""
    magnitude = x.abs().amax(-1, keepdim=True).float()
    return (magnitude / largest).clamp_min_(torch.finfo(torch.float32).tiny)
