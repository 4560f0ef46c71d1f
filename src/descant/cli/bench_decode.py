"""Times the engine, driven directly: how fast it decodes a full batch, and how fast it reads.

Decoding is timed from the moment every request has its first token to the first one's end: the
batch is full all the time, and no prompt is read in it.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from descant.engine import (
    DoneEvent,
    Engine,
    Event,
    FailedEvent,
    GenerateRequest,
    SamplingParams,
    TokenEvent,
)
from descant.model import LoraAdapter
from descant.schema.errors import InvalidConfig

Clock = Callable[[], float]


@dataclass(frozen=True)
class Pace:
    """So many tokens in so many seconds."""

    tokens: int
    time_s: float

    @property
    def tokens_per_s(self) -> float:
        """Tokens a second."""
        return self.tokens / self.time_s


class RequestMaker:
    """Makes requests of random tokens that end in the invocation; no two share a cached block.

    They are greedy and have no stop token: every one has as many output tokens as it may.
    """

    def __init__(self, vocab_size: int, invocation: tuple[int, ...]):
        self._first = min(1000, vocab_size // 2)
        self._vocab_size = vocab_size
        self._invocation = invocation
        self._random = random.Random(7)
        self._salts = map(str, itertools.count())

    def request(
        self, prompt_tokens: int, output_tokens: int, adapter: LoraAdapter | None = None
    ) -> GenerateRequest:
        """Return one request; with an adapter it acts from the invocation on."""
        count = prompt_tokens - len(self._invocation)
        words = (self._random.randrange(self._first, self._vocab_size) for _ in range(count))
        return GenerateRequest(
            (*words, *self._invocation),
            SamplingParams(max_tokens=output_tokens),
            adapter,
            salt=next(self._salts),
        )


def time_reading(engine: Engine, request: GenerateRequest, clock: Clock) -> Pace:
    """Time from an idle engine to the first output token.

    Raises:
        DescantError: the request failed.
    """
    started = clock()
    engine.submit(request)
    while not any(isinstance(event, TokenEvent) for event in step(engine)):
        pass
    time_s = clock() - started
    drain(engine)
    return Pace(len(request.prompt_ids), time_s)


def time_decoding(engine: Engine, requests: Sequence[GenerateRequest], clock: Clock) -> Pace:
    """Time the steps in which all requests decode.

    Raises:
        InvalidConfig: the first request ended before the last one had its first token.
        DescantError: a request failed.
    """
    waiting = {engine.submit(request) for request in requests}
    has_ended = False
    while waiting and not has_ended:
        events = step(engine)
        waiting -= {event.job_id for event in events if isinstance(event, TokenEvent)}
        has_ended = _ends(events)
    started, tokens = clock(), 0
    while not has_ended:
        events = step(engine)
        tokens += sum(isinstance(event, TokenEvent) for event in events)
        has_ended = _ends(events)
    time_s = clock() - started
    drain(engine)
    if not tokens:
        raise InvalidConfig(
            "The first request ended before the last one had begun.",
            field="output_tokens",
            remedy="Let every request have more output tokens.",
        )
    return Pace(tokens, time_s)


def step(engine: Engine) -> list[Event]:
    """Compute one step.

    Raises:
        DescantError: a request failed.
    """
    events = engine.step()
    for event in events:
        if isinstance(event, FailedEvent):
            raise event.error
    return events


def drain(engine: Engine) -> None:
    """Compute what is left, untimed.

    Raises:
        DescantError: a request failed.
    """
    while not engine.is_idle:
        step(engine)


def _ends(events: Sequence[Event]) -> bool:
    return any(isinstance(event, DoneEvent) for event in events)
