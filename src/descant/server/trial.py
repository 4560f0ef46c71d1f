"""Challengers beside champions on live traffic: mirrored to, or answering a small share.

*Shadow*: a share of conversations is answered by the challengers too, after the caller has been
answered; nobody sees what they say. *Canary*: a share is answered by the challengers, and mirrored to
the champions. Either way both answers are written down side by side, without what was said. The
conversation has just been read, so a mirror costs its tails.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TextIO

from descant.schema import Answer, Indicator, Scorecard
from descant.schema.errors import InvalidConfig

_log = logging.getLogger(__name__)

Side = Literal["champion", "challenger"]
Compared = Literal[
    "agree",
    "disagree",
    "champion_unanswered",
    "challenger_unanswered",
    "both_unanswered",
    "left_out",
    "failed",
]
"""What became of one indicator of a conversation that was to be mirrored."""


@dataclass(frozen=True)
class TrialConfig:
    """How much traffic takes part, and which.

    Raises:
        InvalidConfig: a share is not one.
    """

    shadow_share: float = 0.0
    canary_share: float = 0.0
    by: Literal["conversation", "tenant"] = "conversation"
    """What is dealt: the same conversation, or all of a tenant's, always goes the same way."""
    alias: str = "challenger"
    max_waiting: int = 64
    """Mirrored conversations under way; beyond that they are left out and counted."""

    def __post_init__(self) -> None:
        for name in ("shadow_share", "canary_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise InvalidConfig(f"{name} must lie between 0 and 1.", field=name)


@dataclass(frozen=True)
class Course:
    """What becomes of one conversation."""

    answered_by: Side
    is_mirrored: bool


class Trial:
    """Deals conversations, mirrors them, and writes down what both sides said."""

    def __init__(self, config: TrialConfig, stream: TextIO, has_adapter: Callable[[str], bool]):
        """Records go to `stream`, a line each; `has_adapter` knows names such as ``polite@challenger``."""
        self.config = config
        self.num_left_out = 0
        self._stream, self._has_adapter = stream, has_adapter
        self._waiting: set[asyncio.Task[None]] = set()
        self._count: Callable[[str, Compared], None] = lambda indicator, outcome: None

    def watch(self, count: Callable[[str, Compared], None]) -> None:
        """Tell from now on what becomes of every indicator of a mirrored conversation."""
        self._count = count

    def course(self, conversation_id: str, tenant: str) -> Course:
        """Return what becomes of a conversation; it follows from its id, or the tenant, alone."""
        key = tenant if self.config.by == "tenant" else conversation_id
        is_canary = _point("canary", key) < self.config.canary_share
        is_shadow = _point("shadow", key) < self.config.shadow_share
        return Course("challenger" if is_canary else "champion", is_canary or is_shadow)

    def asked_of(self, side: Side, indicators: Sequence[Indicator]) -> tuple[Indicator, ...]:
        """Return the indicators as one side is asked them; where there is no challenger, as they are."""
        if side == "champion":
            return tuple(indicators)
        return tuple(self._challenged(indicator) for indicator in indicators)

    def tried(self, indicators: Sequence[Indicator]) -> tuple[Indicator, ...]:
        """Return those that have a challenger."""
        return tuple(each for each in indicators if self._challenged(each) is not each)

    def mirror(
        self,
        indicators: Sequence[Indicator],
        given: Scorecard,
        other: Callable[[], Awaitable[Scorecard]],
        side: Side,
    ) -> None:
        """Ask the `other` side later, and write both down; `side` has given its answers."""
        if len(self._waiting) >= self.config.max_waiting:
            self.num_left_out += 1
            self._count_all(indicators, "left_out")
            return
        task = asyncio.create_task(self._compare(indicators, given, other, side))
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)

    async def finish(self) -> None:
        """Wait for what is under way."""
        await asyncio.gather(*self._waiting, return_exceptions=True)

    def _challenged(self, indicator: Indicator) -> Indicator:
        name = f"{indicator.adapter}@{self.config.alias}"
        return replace(indicator, adapter=name) if self._has_adapter(name) else indicator

    async def _compare(
        self,
        indicators: Sequence[Indicator],
        given: Scorecard,
        other: Callable[[], Awaitable[Scorecard]],
        side: Side,
    ) -> None:
        try:
            mirrored = await other()
        # Whatever happens to a mirror, no caller has part in it; and it has to be known.
        except Exception:
            _log.exception("A mirrored conversation was not answered")
            self._count_all(indicators, "failed")
            return
        for indicator in indicators:
            pair = [_answer_of(card, indicator.name) for card in (given, mirrored)]
            champion, challenger = pair if side == "champion" else reversed(pair)
            self._count(indicator.name, _compared(champion, challenger))
            self._write(_record(indicator, champion, challenger, side, mirrored.usage.time_s))

    def _count_all(self, indicators: Sequence[Indicator], outcome: Compared) -> None:
        for indicator in indicators:
            self._count(indicator.name, outcome)

    def _write(self, record: dict[str, Any]) -> None:
        try:
            self._stream.write(json.dumps(record) + "\n")
            self._stream.flush()
        except (OSError, ValueError) as error:  # ValueError: the stream is closed
            _log.warning("Trial log cannot be written: %s", error)


def _point(salt: str, key: str) -> float:
    digest = hashlib.sha256(f"descant-{salt}:{key}".encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[:6]) / 2**48


def _answer_of(card: Scorecard, name: str) -> Answer:
    return next(answer for answer in card.answers if answer.indicator == name)


def _compared(champion: Answer, challenger: Answer) -> Compared:
    if champion.label is None:
        return "both_unanswered" if challenger.label is None else "champion_unanswered"
    if challenger.label is None:
        return "challenger_unanswered"
    return "agree" if champion.label == challenger.label else "disagree"


def _record(
    indicator: Indicator, champion: Answer, challenger: Answer, side: Side, mirror_s: float
) -> dict[str, Any]:
    return {
        "indicator": indicator.name,
        "answered_by": side,
        "agree": champion.label == challenger.label,
        "mirror_s": round(mirror_s, 6),
        "champion": _told(indicator, champion),
        "challenger": _told(indicator, challenger),
    }


def _told(indicator: Indicator, answer: Answer) -> dict[str, Any]:
    """Return what may be written down: of a text, which may be personal, its length alone."""
    label = answer.label
    return {
        "adapter": None if answer.adapter is None else answer.adapter.content_hash,
        "label": None if indicator.is_text else label,
        "length": 0 if label is None else len(label),
        "confidence": answer.confidence,
        "unanswered": answer.unanswered is not None,
    }
