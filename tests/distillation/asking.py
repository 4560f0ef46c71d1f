"""One run of labelling against a teacher, as the command line makes it."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from descant.distillation import (
    AnswerStore,
    Asked,
    Asker,
    Budget,
    ChatConfig,
    ChatTeacher,
    Cooldown,
    Cost,
    Effort,
    Endpoint,
    Labelling,
    Limits,
    Patience,
    Prices,
    Teacher,
    Verdict,
)
from descant.schema import Indicator, Transcript
from tests.distillation.calls import POLITE

HARD = ChatConfig("big")
QUICK = Patience(tries=3, first_pause_s=0.001, longest_pause_s=0.01)


@dataclass(frozen=True)
class Run:
    asked: Asked
    verdicts: list[Mapping[str, Verdict | None]]
    spent: Cost

    @property
    def labels(self) -> list[str | None]:
        """Of the first indicator."""
        firsts = [next(iter(each.values())) for each in self.verdicts]
        return [verdict and verdict.label for verdict in firsts]


def label(  # noqa: PLR0913 - all that a test may want to be otherwise
    address: str,
    answers: Path,
    calls: Sequence[Transcript],
    indicators: Sequence[Indicator] = (POLITE,),
    *,
    teacher: Teacher | None = None,
    limits: Limits | None = None,
    prices: Prices | None = None,
    concurrency: int = 4,
    in_a_row: int = 20,
    key: str | None = None,
    timeout_s: float = 10.0,
    longest_s: float = 10.0,
) -> Run:
    teacher = teacher or ChatTeacher(HARD)

    async def run() -> Run:
        with AnswerStore(answers) as store:
            budget = Budget(limits or Limits(), prices or Prices(), store.spent)
            source = random.Random(0)
            pause_s = partial(QUICK.pause_s, source=source)
            cooldown = Cooldown(longest_s, pause_s, time.monotonic, asyncio.sleep)
            async with Endpoint(address, key, timeout_s) as endpoint:
                asker = Asker(
                    *(teacher, endpoint, store, budget, cooldown, QUICK, asyncio.sleep, source)
                )
                labelling = Labelling(teacher, asker, store, Effort(concurrency, in_a_row))
                asked = await labelling.run([(call, indicators) for call in calls])
            verdicts = [labelling.verdicts(call, indicators) for call in calls]
            return Run(asked, verdicts, budget.spent)

    return asyncio.run(run())
