"""The time in which an upstream, or one model on it, is not asked at all."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime

from descant.gateway.failures.stated_wait import stated_wait_s

DEFAULT_WAIT_S = 10.0
"""For a refusal that does not say how long."""
LEAST_WAIT_S = 0.1
"""An upstream that refuses and says "at once" is not asked in a tight circle."""
_MOST_MODELS = 1000


class Cooldown:
    """Until the latest deadline anyone was told of; nothing shortens it."""

    def __init__(self) -> None:
        self._until_s = -math.inf

    def extend(self, wait_s: float, now_s: float) -> None:
        """Let nothing pass for `wait_s` from now, or longer if that was said before."""
        self._until_s = max(self._until_s, now_s + wait_s)

    def wait_s(self, now_s: float) -> float:
        """Return the seconds left; 0 if there are none."""
        return max(0.0, self._until_s - now_s)


class Cooldowns:
    """One for an upstream as a whole and one for each model on it that was refused."""

    def __init__(self) -> None:
        self._whole = Cooldown()
        self._models: dict[str, Cooldown] = {}

    def all_wait_s(self, now_s: float) -> float:
        """Return the seconds until anything may be asked for here; 0 if it may now."""
        return self._whole.wait_s(now_s)

    def model_wait_s(self, model: str, now_s: float) -> float:
        """Return the seconds for which this model is held back beside all; 0 if it is not."""
        cooldown = self._models.get(model)
        return 0.0 if cooldown is None else cooldown.wait_s(now_s)

    def longest_s(self, now_s: float) -> float:
        """Return the seconds for which anything at all is held back; 0 if nothing is."""
        waits = (cooldown.wait_s(now_s) for cooldown in list(self._models.values()))
        return max(self._whole.wait_s(now_s), max(waits, default=0.0))

    def refuse_all(self, wait_s: float, now_s: float) -> None:
        """Let nothing pass here for `wait_s`."""
        self._whole.extend(wait_s, now_s)

    def refuse_model(self, model: str, wait_s: float, now_s: float) -> None:
        """Let nothing for this model pass here for `wait_s`."""
        cooldown = self._models.get(model)
        if cooldown is None:
            cooldown = self._new(model, now_s)
        cooldown.extend(wait_s, now_s)

    def _new(self, model: str, now_s: float) -> Cooldown:
        """Return the model's own, or where too many are refused at once, the upstream's."""
        if len(self._models) >= _MOST_MODELS:
            self._models = {
                name: kept for name, kept in self._models.items() if kept.wait_s(now_s) > 0
            }
        if len(self._models) >= _MOST_MODELS:
            return self._whole
        return self._models.setdefault(model, Cooldown())


def throttled_wait_s(status: int, headers: Mapping[str, str], now_utc: datetime) -> float:
    """Return how long a refusal for asking too much holds, said or not."""
    stated_s = stated_wait_s(status, headers, now_utc)
    return DEFAULT_WAIT_S if stated_s is None else max(LEAST_WAIT_S, stated_s)
