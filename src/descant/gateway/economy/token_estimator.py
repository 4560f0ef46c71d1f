"""How many tokens a request will use, before anybody has counted them.

Tokens are estimated from bytes by a ratio that is learned from settled usage, by model and size of the
prompt (in a short one the chat template weighs more). The ratio is the smallest of the last 64: if
the next request is like these, it needs more tokens than that in at most one of 65 cases,
whatever the distribution is.
"""

from __future__ import annotations

from bisect import bisect
from collections import deque
from collections.abc import Mapping
from math import ceil
from typing import Any, NamedTuple

from descant.gateway.call import Usage
from descant.gateway.economy.prompt_size import most_completion_tokens, prompt_size

FIRST_BYTES_PER_TOKEN = 2.5
"""Before anything is learned; English text has above 4, code and JSON about 3."""
_WINDOW = 64
_LEAST_SEEN = 16
_SIZES_BYTES = (512, 8192)
# A model that answers with nonsense must not make every request look huge, or like nothing.
_LEAST_RATIO, _MOST_RATIO = 0.25, 16.0


class TokenEstimate(NamedTuple):
    """What to set aside for a request."""

    prompt_tokens: int
    max_tokens: int
    """All choices together."""


class TokenEstimator:
    """Learns each model's bytes per token; for one event loop."""

    def __init__(self, default_max_tokens: int, most_models: int = 1000):
        """Of more than `most_models` models the others keep the first ratio."""
        self._default_max_tokens = default_max_tokens
        self._most_models = most_models
        self._ratios: dict[str, list[_Ratio]] = {}

    def estimate(self, model: str, body: Mapping[str, Any]) -> TokenEstimate:
        """Return what a request may use; it rarely uses more."""
        size = prompt_size(body)
        ratio = self.bytes_per_token(model, size.num_bytes)
        prompt_tokens = ceil(size.num_bytes / ratio) + size.fixed_tokens
        return TokenEstimate(prompt_tokens, most_completion_tokens(body, self._default_max_tokens))

    def learn(self, model: str, body: Mapping[str, Any], usage: Usage) -> None:
        """Take what a request has used in the end."""
        size = prompt_size(body)
        text_tokens = usage.prompt_tokens - size.fixed_tokens
        if usage.prompt_tokens <= 0 or size.num_bytes == 0:
            return
        if model not in self._ratios and len(self._ratios) >= self._most_models:
            return
        by_size = self._ratios.setdefault(model, [_Ratio() for _ in range(len(_SIZES_BYTES) + 1)])
        by_size[_size_class(size.num_bytes)].learn(size.num_bytes / max(1, text_tokens))

    def bytes_per_token(self, model: str, num_bytes: int) -> float:
        """Return the ratio that prompts of this size are estimated by."""
        by_size = self._ratios.get(model)
        return FIRST_BYTES_PER_TOKEN if by_size is None else by_size[_size_class(num_bytes)].value


class _Ratio:
    __slots__ = ("_seen", "value")

    def __init__(self) -> None:
        self._seen: deque[float] = deque(maxlen=_WINDOW)
        self.value = FIRST_BYTES_PER_TOKEN

    def learn(self, ratio: float) -> None:
        self._seen.append(min(_MOST_RATIO, max(_LEAST_RATIO, ratio)))
        least = min(self._seen)
        self.value = least if len(self._seen) >= _LEAST_SEEN else min(least, FIRST_BYTES_PER_TOKEN)


def _size_class(num_bytes: int) -> int:
    return bisect(_SIZES_BYTES, num_bytes)
