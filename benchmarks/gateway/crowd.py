"""A small crowd that keeps asking through whatever happens, and what each of its parts saw."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from benchmarks.gateway.gateways import MODEL, Running
from benchmarks.gateway.load import Answer, Target, chat_body
from benchmarks.gateway.load.measured import percentile
from benchmarks.gateway.load.pool import Pool

CLIENTS = 16
MAX_TOKENS = 16
TIMEOUT_S = 20.0
PAUSE_S = 0.02
"""Between two questions of one client: the drill is about what happens, not about speed."""
_TOTAL = re.compile(rb'"total_tokens": ?(\d+)')
_STREAM = {"stream": True, "stream_options": {"include_usage": True}}


@dataclass(frozen=True)
class Charge:
    """A good answer, as its caller would expect it in the books."""

    id: str
    tokens: int
    ended_s: float


@dataclass
class Part:
    """What was answered during one part of a drill."""

    name: str
    whole: Counter[str] = field(default_factory=Counter)
    """Answers that are no streams, by kind."""
    streams: Counter[str] = field(default_factory=Counter)
    untold: int = 0
    """Refusals of status 429 or 503 without a Retry-After."""
    seconds: list[float] = field(default_factory=list)
    charges: list[Charge] = field(default_factory=list)

    def note(self, answer: Answer, is_stream: bool) -> None:
        """Take in one answer."""
        (self.streams if is_stream else self.whole)[answer.kind] += 1
        self.seconds.append(answer.ended_s - answer.sent_s)
        if answer.error is None and answer.status in (429, 503):
            self.untold += answer.retry_after_s is None
        found = _TOTAL.findall(answer.body)
        if answer.is_good and found:
            id_ = answer.headers.get("x-request-id", "")
            self.charges.append(Charge(id_, int(found[-1]), answer.ended_s))

    def to_json(self) -> dict[str, Any]:
        """Return the counts."""
        return {
            "name": self.name,
            "whole": dict(self.whole),
            "streams": dict(self.streams),
            "untold": self.untold,
            "p99_s": round(percentile(self.seconds, 0.99), 3),
            "max_s": round(max(self.seconds, default=0.0), 3),
        }


class Crowd:
    """Clients of one gateway; every other question is for a stream, and no two are alike."""

    def __init__(self, running: Running) -> None:
        self.parts: list[Part] = []
        self._numbers = itertools.count()
        self.turn_to(running)

    def turn_to(self, running: Running) -> None:
        """Ask another gateway from now on."""
        self._url = f"{running.url}/v1/chat/completions"
        self._headers = running.headers
        self._pool = Pool(Target(self._url, ()).address, 1000)

    async def during(self, name: str, happens: Callable[[], Awaitable[None]]) -> Part:
        """Ask for as long as something happens; all answers are in when it returns."""
        part, over = Part(name), asyncio.Event()
        self.parts.append(part)

        async def client() -> None:
            while not over.is_set():
                await self.ask(part)
                await asyncio.sleep(PAUSE_S)

        async with asyncio.TaskGroup() as clients:
            for _ in range(CLIENTS):
                clients.create_task(client())
            try:
                await happens()
            finally:
                over.set()
        return part

    async def at_once(self, name: str, count: int) -> Part:
        """Ask so many questions at the same moment."""
        part = Part(name)
        await asyncio.gather(*(self.ask(part) for _ in range(count)))
        return part

    async def ask(self, part: Part) -> None:
        """Ask one question."""
        number = next(self._numbers)
        is_stream = bool(number % 2)
        wishes = {"max_tokens": MAX_TOKENS, **(_STREAM if is_stream else {})}
        body = chat_body(number, MODEL, wishes, prompt_characters=200)
        request = Target(self._url, (body,), self._headers).requests()[0]
        part.note(await self._pool.ask(request, TIMEOUT_S), is_stream)
