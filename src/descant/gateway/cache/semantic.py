"""Answers to questions that mean the same; off unless a route asks for it.

Only the last user message is compared by meaning. Everything else, from the tenant to the system
prompt, the earlier turns and the decoding, is the hard key of a partition (`split_free_text`), and
partitions never see each other. Whether a match is served is up to a `FalseHitGate`. Only calls that
`plan_cache` lets read and store belong here.

::

    question = await cache.ask(call, identity, embed)
    if question.match is None:  ask upstream, then cache.keep(question, answer)
    elif question.is_served:    answer with question.match.answer
    else:                       ask upstream, then await cache.check(question, answer)
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Annotated

import orjson
from pydantic import Field

from descant.gateway.cache.answer import CachedAnswer
from descant.gateway.cache.false_hits import FalseHitGate, FalseHitState
from descant.gateway.cache.lru import ENTRY_BYTES, CacheCounts
from descant.gateway.cache.partition import FreeText, Identity, split_free_text
from descant.gateway.cache.vectors import VectorTable
from descant.gateway.call import Call

_log = logging.getLogger(__name__)

Embedder = Callable[[Sequence[str]], Awaitable[Sequence[Sequence[float]]]]
Judge = Callable[[CachedAnswer, CachedAnswer], Awaitable[bool]]
"""Whether the first answer would have done in the second one's place."""


@dataclass(frozen=True)
class SemanticConfig:
    """How near is near, and how much is kept."""

    least_similarity: Annotated[float, Field(gt=0, le=1)] = 0.95
    ttl_s: Annotated[float, Field(gt=0)] = 3600.0
    most_partitions: Annotated[int, Field(ge=1)] = 1000
    most_entries: Annotated[int, Field(ge=1)] = 1000
    """Of a partition: a look-up compares with all of them."""
    most_bytes: Annotated[int, Field(ge=1)] = 64_000_000
    """Vectors and answers of all partitions together."""


@dataclass(frozen=True, slots=True)
class Match:
    """An answer that was given to a question like this one."""

    answer: CachedAnswer
    similarity: float


@dataclass(frozen=True, slots=True)
class Question:
    """One request's free text, and what the cache knows about it."""

    free: FreeText | None = None
    vector: Sequence[float] = ()
    """Empty where the cache has nothing to do with the request."""
    match: Match | None = None
    is_served: bool = False


@dataclass(frozen=True, slots=True)
class _Kept:
    answer: CachedAnswer
    until_s: float

    @property
    def size_bytes(self) -> int:
        return len(self.answer.body) + ENTRY_BYTES


class _Partition:
    def __init__(self, num_dimensions: int, most_entries: int):
        self.vectors = VectorTable(num_dimensions, most_entries)
        self.kept: dict[int, _Kept] = {}
        self.answer_bytes = 0

    @property
    def held_bytes(self) -> int:
        return self.answer_bytes + self.vectors.held_bytes

    def add(self, vector: Sequence[float], kept: _Kept) -> None:
        place = self.vectors.add(vector)
        self.drop_answer(place)
        self.kept[place] = kept
        self.answer_bytes += kept.size_bytes

    def forget(self, place: int) -> None:
        self.vectors.forget(place)
        self.drop_answer(place)

    def drop_answer(self, place: int) -> None:
        gone = self.kept.pop(place, None)
        if gone is not None:
            self.answer_bytes -= gone.size_bytes


class SemanticCache:
    """The semantic tier of one route in one worker; for one event loop."""

    def __init__(
        self,
        config: SemanticConfig,
        gate: FalseHitGate,
        clock: Callable[[], float],
        judge: Judge | None = None,
    ):
        """Without a `judge` two answers are the same if they are equal once normalised."""
        self.counts = CacheCounts()
        self._config = config
        self._gate = gate
        self._clock = clock
        self._judge = judge or _are_equal
        self._partitions: OrderedDict[bytes, _Partition] = OrderedDict()
        self._held_bytes = 0

    @property
    def held_bytes(self) -> int:
        """What vectors and answers take now."""
        return self._held_bytes

    def state(self) -> FalseHitState:
        """Return whether it serves, and on what evidence."""
        return self._gate.state()

    async def ask(self, call: Call, identity: Identity, embed: Embedder) -> Question:
        """Look for an answer to a question like this one, and decide whether it is served."""
        free = split_free_text(call, identity)
        vector = () if free is None else await self._embed(free.text, embed)
        if free is None or not len(vector):
            return Question()
        match = self._find(free.partition, vector)
        self.counts.hits += match is not None
        self.counts.misses += match is None
        return Question(free, vector, match, match is not None and self._gate.may_serve())

    def keep(self, question: Question, answer: CachedAnswer) -> None:
        """Keep the answer that upstream gave to a question."""
        if question.free is None:
            return
        partition = self._partition(question.free.partition, len(question.vector))
        self._held_bytes -= partition.held_bytes
        kept = _Kept(answer, self._clock() + self._config.ttl_s)
        partition.add(question.vector, kept)
        self._held_bytes += partition.held_bytes
        self._make_room()

    async def check(self, question: Question, answer: CachedAnswer) -> None:
        """Compare upstream's answer with the one that could have been served, and keep it.

        With a judge that takes long, call it once the caller has its answer.
        """
        if question.match is not None:
            self._gate.record(is_false=not await self._is_right(question.match.answer, answer))
        self.keep(question, answer)

    async def _is_right(self, kept: CachedAnswer, fresh: CachedAnswer) -> bool:
        try:
            return await self._judge(kept, fresh)
        # An answer that nobody could judge is not known to be right; it is counted as false.
        except Exception as error:
            self.counts.failed += 1
            _log.warning("The semantic cache's judge failed: %r.", error)
            return False

    async def _embed(self, text: str, embed: Embedder) -> Sequence[float]:
        try:
            (vector,) = await embed([text])
            if not all(map(isfinite, vector)):
                raise ValueError("a vector is not finite")
            return vector
        # Whatever the embedder's trouble is, the request goes on without the cache; it is counted.
        except Exception as error:
            self.counts.failed += 1
            _log.warning("The semantic cache's embedder failed: %r.", error)
            return ()

    def _find(self, key: bytes, vector: Sequence[float]) -> Match | None:
        partition = self._partitions.get(key)
        if partition is None or partition.vectors.num_dimensions != len(vector):
            return None
        self._partitions.move_to_end(key)
        near = partition.vectors.nearest(vector)
        if near is None or near.similarity < self._config.least_similarity:
            return None
        kept = partition.kept[near.place]
        if self._clock() < kept.until_s:
            return Match(kept.answer, near.similarity)
        self._held_bytes -= kept.size_bytes
        partition.forget(near.place)
        self.counts.expired += 1
        return None

    def _partition(self, key: bytes, num_dimensions: int) -> _Partition:
        found = self._partitions.get(key)
        if found is not None and found.vectors.num_dimensions == num_dimensions:
            self._partitions.move_to_end(key)
            return found
        # Another embedder has come meanwhile: its vectors cannot be compared with the old ones.
        self._held_bytes -= 0 if found is None else found.held_bytes
        new = self._partitions[key] = _Partition(num_dimensions, self._config.most_entries)
        self._partitions.move_to_end(key)
        self._held_bytes += new.held_bytes
        return new

    def _make_room(self) -> None:
        most_bytes, most = self._config.most_bytes, self._config.most_partitions
        while self._held_bytes > most_bytes or len(self._partitions) > most:
            _, gone = self._partitions.popitem(last=False)
            self._held_bytes -= gone.held_bytes
            self.counts.evicted += 1


async def _are_equal(kept: CachedAnswer, fresh: CachedAnswer) -> bool:
    return normalised(kept.body) == normalised(fresh.body)


def normalised(body: bytes) -> list[object]:
    """Return what an answer says: of each choice its text and tool calls, without case and spacing.

    A text that is JSON counts by its values.
    """
    choices = orjson.loads(body).get("choices", ())
    return [_said(choice.get("message") or choice) for choice in choices]


def _said(message: dict[str, object]) -> object:
    text = message.get("content", message.get("text"))
    calls = message.get("tool_calls")
    functions = [call.get("function") for call in calls] if isinstance(calls, list) else None
    return [_plain(text), functions]


def _plain(text: object) -> object:
    if not isinstance(text, str):
        return text
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return " ".join(text.casefold().split())
