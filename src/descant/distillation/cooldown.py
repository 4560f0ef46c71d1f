"""The time in which a teacher that was asked too much is not asked at all.

A refusal names a deadline; the latest one counts, whichever request was told of it.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from email.utils import parsedate_to_datetime

from descant.schema.errors import TeacherUnavailable

# A wait looks up so often whether the others have given up meanwhile.
_LOOK_S = 1.0


class Cooldown:
    """Holds every request back until the latest deadline; for one event loop."""

    def __init__(
        self,
        longest_s: float,
        pause_s: Callable[[int], float],
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ):
        """`longest_s` is how long to wait for a teacher that refuses again and again.

        `pause_s` gives the wait after so many refusals in a row where the teacher names none.
        """
        self._longest_s = longest_s
        self._pause_s = pause_s
        self._clock = clock
        self._sleep = sleep
        self._until_s = -math.inf
        self._num_windows = 0
        self._refused_since_s: float | None = None
        self._gave_up: TeacherUnavailable | None = None

    async def wait(self) -> None:
        """Return once requests may be sent.

        Raises:
            TeacherUnavailable: another request has given up waiting.
        """
        while (left_s := self._until_s - self._clock()) > 0:
            self._check()
            await self._sleep(min(left_s, _LOOK_S))
        self._check()

    def extend(self, stated_s: float | None, reason: str) -> None:
        """Let no request begin for as long as a refusal states.

        Raises:
            TeacherUnavailable: it refuses for longer than is waited for.
        """
        now_s = self._clock()
        if self._refused_since_s is None:
            self._refused_since_s = now_s
        # Those that were under way together are refused together, which is one refusal.
        self._num_windows += now_s >= self._until_s
        wait_s = self._pause_s(self._num_windows)
        if stated_s is not None:
            # A teacher that says "at once" and refuses again is not asked in a tight circle.
            wait_s = max(stated_s, self._pause_s(1))
        if now_s + wait_s - self._refused_since_s > self._longest_s:
            self._gave_up = TeacherUnavailable(
                f"The teacher takes no requests for {wait_s:,.0f} s more: {reason}",
                remedy="What was answered is kept; run the same command again then.",
            )
            raise self._gave_up
        self._until_s = max(self._until_s, now_s + wait_s)

    def end(self) -> None:
        """Note that a request was taken; the deadline stands."""
        self._num_windows = 0
        self._refused_since_s = None

    def _check(self) -> None:
        if self._gave_up is not None:
            raise self._gave_up


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return how long a response asks to wait; None if it does not say, or nothing sensible.

    ``retry-after-ms`` is the finer one, so it goes before ``Retry-After``, which is seconds or a date
    (RFC 9110, section 10.2.3); a date is measured from the response's own.
    """
    if (wait_ms := _number(headers.get("retry-after-ms"))) is not None:
        return wait_ms / 1000
    stated = headers.get("retry-after")
    if (wait_s := _number(stated)) is not None:
        return wait_s
    try:
        until = parsedate_to_datetime(stated or "")
        wait_s = (until - parsedate_to_datetime(headers.get("date", ""))).total_seconds()
    except (ValueError, TypeError):
        return None
    return max(0.0, wait_s)


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None
