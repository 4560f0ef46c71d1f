"""Plain causal attention over whole sequences, without a cache.

The reference for every faster way of attending, and what training of plain LoRA uses.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


class DenseCausal:
    """Attends within each of several sequences that stand one after the other in a step.

    Semantics:
        out[t] = softmax_{u <= t, same sequence}(q[t] . k[u] / sqrt(D)) @ v[u]
    """

    def __init__(self, lengths: Sequence[int] | None = None):
        """Take the lengths of the sequences in tokens; None means the whole step is one."""
        self.lengths = None if lengths is None else list(lengths)

    def __call__(
        self,
        layer: int,
        q: Float[Tensor, "T H D"],
        k: Float[Tensor, "T G D"],
        v: Float[Tensor, "T G D"],
    ) -> Float[Tensor, "T H D"]:
        """Return the attention output of each token."""
        if self.lengths is None:
            return _attend(q, k, v)
        parts = zip(*(torch.split(x, self.lengths) for x in (q, k, v)), strict=True)
        return torch.cat([_attend(*part) for part in parts])


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    q, k, v = (x.transpose(0, 1)[None] for x in (q, k, v))
    out = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    return out[0].transpose(0, 1)
