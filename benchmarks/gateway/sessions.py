"""Sessions: each asks, reads the answer, thinks, and asks again; when refused it waits as told."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.gateway.load.connection import Answer
from benchmarks.gateway.load.pool import Pool

_REFUSALS = (429, 503)
_WAIT_UNTOLD_S = 1.0
"""Of a session that was refused without a word about when to come again."""


@dataclass
class Tally:
    """What all sessions together were answered."""

    good: int = 0
    refused: int = 0
    untold: int = 0
    """Refusals without a Retry-After."""
    failures: Counter[str] = field(default_factory=Counter)
    """Neither answers nor refusals."""
    tries: Counter[int] = field(default_factory=Counter)
    """Answered questions by how often they had been asked."""
    told_s: list[float] = field(default_factory=list)
    answered_s: list[float] = field(default_factory=list)
    """How long each good answer took, without the times it was refused before."""

    def note(self, answer: Answer) -> None:
        """Count one."""
        if answer.is_good:
            self.good += 1
            self.answered_s.append(answer.ended_s - answer.sent_s)
        elif answer.error is None and answer.status in _REFUSALS:
            self.refused += 1
            if answer.retry_after_s is None:
                self.untold += 1
            else:
                self.told_s.append(answer.retry_after_s)
        else:
            self.failures[answer.kind] += 1


@dataclass(frozen=True)
class Sessions:
    """A crowd that asks one gateway."""

    pool: Pool
    requests: Sequence[bytes]
    think_s: float
    timeout_s: float
    tally: Tally = field(default_factory=Tally)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    refusals: dict[int, Answer] = field(default_factory=dict)
    """The last answer of each session that stands refused now."""

    async def run(self, index: int) -> None:
        """Be one session until all are over; what is under way then is still read."""
        draw = random.Random(index)
        while not self.over.is_set():
            await self._question(draw.choice(self.requests), index)
            await self._pause(draw.uniform(0.5, 1.5) * self.think_s)

    async def ask_once(self, index: int) -> Answer:
        """Send one request of a session and count its answer."""
        answer = await self.pool.ask(self.requests[index % len(self.requests)], self.timeout_s)
        self.tally.note(answer)
        return answer

    async def _question(self, request: bytes, index: int) -> None:
        asked = 0
        while not self.over.is_set():
            answer = await self.pool.ask(request, self.timeout_s)
            asked += 1
            self.tally.note(answer)
            if answer.error is not None or answer.status not in _REFUSALS:
                self.refusals.pop(index, None)
                if answer.is_good:
                    self.tally.tries[asked] += 1
                return
            self.refusals[index] = answer
            told_s = answer.retry_after_s
            await self._pause(_WAIT_UNTOLD_S if told_s is None else told_s)

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.over.wait(), seconds)
