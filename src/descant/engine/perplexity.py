"""How well a model foretells a text, with keys and values as the engine's cache would keep them.

A text longer than the context is read in windows that overlap: each token but the first is foretold
once, in the first window that holds it, and in every window but the first from at least
`window_tokens - stride_tokens` tokens before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence as Seq
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from descant.engine.batch import FreshPart, StepBatch
from descant.engine.kv_cache import KvCache
from descant.engine.runner import PagedAttend
from descant.model import Transformer, choose_kernel
from descant.schema import KvDtype
from descant.schema.errors import InvalidConfig

# Logits are a vocabulary wide: more rows at once would take more memory than the model.
_ROWS_AT_ONCE = 128


@dataclass(frozen=True)
class Windows:
    """How a text is cut.

    Raises:
        InvalidConfig: names the field that is out of range.
    """

    window_tokens: int = 1024
    stride_tokens: int = 512

    def __post_init__(self) -> None:
        if self.window_tokens < 2:
            raise InvalidConfig("window_tokens must be at least 2.", field="window_tokens")
        if not 1 <= self.stride_tokens < self.window_tokens:
            raise InvalidConfig(
                "stride_tokens must be at least 1 and less than window_tokens.",
                field="stride_tokens",
            )

    def spans(self, num_tokens: int) -> Iterator[tuple[int, int, int]]:
        """Yield each window's first token, the first one it foretells, and its end."""
        start, foretold = 0, 1
        while foretold < num_tokens:
            stop = min(start + self.window_tokens, num_tokens)
            yield start, foretold, stop
            start, foretold = start + self.stride_tokens, stop


def log_loss(model: Transformer, token_ids: Seq[int], kv_dtype: KvDtype, windows: Windows) -> float:
    """Return the mean of -log p(token) over all tokens but the first, in nats.

    Its exponential is the perplexity. There must be two tokens at least.
    """
    ids = torch.tensor(token_ids, dtype=torch.int64, device=model.device)
    loss = torch.zeros((), dtype=torch.float64)
    with torch.inference_mode():
        for start, foretold, stop in windows.spans(len(ids)):
            hidden = _read(model, ids[start:stop], kv_dtype)
            loss += _loss(model, hidden[foretold - start - 1 : -1], ids[foretold:stop])
    return loss.item() / (len(ids) - 1)


def _read(model: Transformer, ids: Int[Tensor, " T"], kv_dtype: KvDtype) -> Float[Tensor, "T E"]:
    places = torch.arange(len(ids), device=model.device)
    batch = StepBatch(ids, places, places, None, (FreshPart(0, 1, len(ids)),), (), None, ())
    cache = KvCache.of(model, len(ids), kv_dtype)
    kernel = choose_kernel(model.device, model.dtype)
    hidden: Tensor = model(ids, places, PagedAttend(batch, cache, kernel))
    return hidden


def _loss(model: Transformer, hidden: Float[Tensor, "N E"], ids: Int[Tensor, " N"]) -> Tensor:
    rows = zip(hidden.split(_ROWS_AT_ONCE), ids.split(_ROWS_AT_ONCE), strict=True)
    losses = [F.cross_entropy(model.logits(x), token, reduction="sum") for x, token in rows]
    return torch.stack(losses).double().sum().cpu()
