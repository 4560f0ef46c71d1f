"""All questions about all conversations, some at a time, and the labels that come of them.

What was answered before is not asked again. What ends a run early lets the requests under way come to
their end, as these are paid for, and leaves the rest unlabelled.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from descant.distillation.answer_store import AnswerStore, key_of
from descant.distillation.asker import Asker, Unanswered
from descant.distillation.teacher import Ask, Opinion, Teacher
from descant.distillation.votes import Verdict, count_votes
from descant.schema import DescantError, Indicator, Transcript
from descant.schema.errors import InvalidConfig, TeacherUnavailable


@dataclass(frozen=True)
class Effort:
    """How many requests are under way at once, and when it is no use to go on.

    Raises:
        InvalidConfig: names the field that is out of range.
    """

    concurrency: int = 8
    unanswered_in_a_row: int = 20

    def __post_init__(self) -> None:
        for name in ("concurrency", "unanswered_in_a_row"):
            if getattr(self, name) < 1:
                raise InvalidConfig(f"{name} must be at least 1.", field=name)


Question = tuple[Transcript, Sequence[Indicator]]
"""A conversation, and the indicators to be answered about it."""


@dataclass(frozen=True)
class Asked:
    """How a run ended."""

    reasons: Mapping[str, str]
    """Why a request brought nothing this time, by its key; the next run makes it again."""
    stopped: DescantError | None
    """Why not everything was asked; None where it was."""

    @property
    def given_up(self) -> Counter[str]:
        """How many requests brought nothing this time, by reason."""
        return Counter(self.reasons.values())


class Labelling:
    """Has a teacher answer all indicators about some conversations; answers are in the store."""

    def __init__(self, teacher: Teacher, asker: Asker, store: AnswerStore, effort: Effort):
        self._teacher = teacher
        self._asker = asker
        self._store = store
        self._effort = effort

    async def run(
        self,
        questions: Sequence[Question],
        on_progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Asked:
        """Ask what has no answer yet; `on_progress` gets the requests that are done and all."""
        asks = dict(pair for question in questions for pair in self._keyed(*question))
        missing = [pair for pair in asks.items() if self._store.opinions(pair[0]) is None]
        known = len(asks) - len(missing)
        run = _Run(
            self._asker,
            self._effort.unanswered_in_a_row,
            iter(missing),
            lambda done: on_progress(known + done, len(asks)),
        )
        async with asyncio.TaskGroup() as group:
            for _ in range(min(self._effort.concurrency, len(missing))):
                group.create_task(run.work())
        return Asked(run.reasons, run.stopped)

    def verdicts(
        self, transcript: Transcript, indicators: Sequence[Indicator]
    ) -> dict[str, Verdict | None]:
        """Return what the answers come to, by indicator name; None where one is missing."""
        said: dict[str, list[Opinion | None]] = {indicator.name: [] for indicator in indicators}
        for key, ask in self._keyed(transcript, indicators):
            opinions = self._store.opinions(key) or {}
            for indicator in ask.indicators:
                said[indicator.name].append(_opinion_on(indicator, ask, opinions))
        return {name: _verdict(opinions) for name, opinions in said.items()}

    def keys(
        self, transcript: Transcript, indicators: Sequence[Indicator]
    ) -> dict[str, tuple[str, ...]]:
        """Return the keys of the requests about one conversation with the indicators of each."""
        asks = self._keyed(transcript, indicators)
        return {key: tuple(each.name for each in ask.indicators) for key, ask in asks}

    def _keyed(
        self, transcript: Transcript, indicators: Sequence[Indicator]
    ) -> Iterator[tuple[str, Ask]]:
        for ask in self._teacher.asks(transcript, indicators):
            yield key_of(self._teacher.content(ask)), ask


class _Run:
    """What the workers of one run share."""

    def __init__(
        self,
        asker: Asker,
        most_in_a_row: int,
        waiting: Iterator[tuple[str, Ask]],
        on_done: Callable[[int], None],
    ):
        self.reasons: dict[str, str] = {}
        self.stopped: DescantError | None = None
        self._asker = asker
        self._most_in_a_row = most_in_a_row
        self._waiting = waiting
        self._on_done = on_done
        self._num_done = 0
        self._in_a_row = 0

    async def work(self) -> None:
        """Ask one question after the other, until there is none or the run has to end."""
        for key, ask in self._waiting:
            try:
                self._note(await self._reason(key, ask))
            except DescantError as error:
                self.stopped = self.stopped or error
            else:
                self._num_done += 1
                self._on_done(self._num_done)
            if self.stopped is not None:
                return

    async def _reason(self, key: str, ask: Ask) -> str | None:
        """Ask, and return why there is no answer."""
        try:
            opinions = await self._asker.ask(ask)
        except Unanswered as error:
            self.reasons[key] = str(error)
            return str(error)
        reasons = [opinion.unanswered for opinion in opinions.values()]
        return None if None in reasons else reasons[0]

    def _note(self, reason: str | None) -> None:
        self._in_a_row = 0 if reason is None else self._in_a_row + 1
        if self._in_a_row >= self._most_in_a_row:
            raise TeacherUnavailable(
                f"{self._in_a_row} requests in a row had no answer; the last: {reason}",
                remedy="What was answered is kept; run the same command again when it is mended.",
            )


def _opinion_on(indicator: Indicator, ask: Ask, opinions: Mapping[str, Opinion]) -> Opinion | None:
    if len(ask.indicators) == len(opinions) == 1:
        # The same question is asked once, whatever the indicator is called by then.
        [opinion] = opinions.values()
        return opinion
    return opinions.get(indicator.name)


def _verdict(opinions: Sequence[Opinion | None]) -> Verdict | None:
    known = [opinion for opinion in opinions if opinion is not None]
    return count_votes(known) if len(known) == len(opinions) else None
