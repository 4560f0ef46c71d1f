"""How much the answer hangs on each assumption: one halved or doubled, all others as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from descant.cost.comparison import CostComparison, compare_costs
from descant.cost.prices import ApiPrice, MachinePrice
from descant.cost.speed import MeasuredSpeed
from descant.cost.workload import Workload


@dataclass(frozen=True)
class Case:
    """Everything a comparison is made of."""

    workload: Workload
    speed: MeasuredSpeed
    api: ApiPrice
    machine: MachinePrice
    overhead_share: float = 0.0

    def compare(self) -> CostComparison:
        """Return the comparison."""
        return compare_costs(self.workload, self.speed, self.api, self.machine, self.overhead_share)


@dataclass(frozen=True)
class Sensitivity:
    """API over own where one assumption is half, and twice, what it was."""

    name: str
    half: float | None
    """None: a conversation takes too long."""
    twice: float | None


def sensitivities(case: Case) -> list[Sensitivity]:
    """Return what each assumption moves, those that move most first."""
    found = [
        Sensitivity(name, change(case, 0.5).compare().ratio, change(case, 2.0).compare().ratio)
        for name, change in _changes()
    ]
    return sorted(found, key=lambda each: -abs((each.half or 0.0) - (each.twice or 0.0)))


Change = Callable[[Case, float], Case]


def _changes() -> Iterator[tuple[str, Change]]:
    yield (
        "conversations a day",
        lambda c, x: _work(c, conversations_per_day=c.workload.conversations_per_day * x),
    )
    yield "tokens of a conversation", lambda c, x: _work(c, tokens=c.workload.tokens * x)
    yield "questions", lambda c, x: _work(c, questions=max(1, round(c.workload.questions * x)))
    yield "busiest hour", lambda c, x: _work(c, peak=max(1.0, c.workload.peak * x))
    yield (
        "price of the machine",
        lambda c, x: replace(c, machine=replace(c.machine, per_hour=c.machine.per_hour * x)),
    )
    yield "price of the API", lambda c, x: replace(c, api=_times(c.api, x))
    yield "speed of the machine", lambda c, x: replace(c, speed=_faster(c.speed, x))


def _work(case: Case, **changes: float) -> Case:
    return replace(case, workload=replace(case.workload, **changes))  # type: ignore[arg-type]


def _times(api: ApiPrice, factor: float) -> ApiPrice:
    cached = None if api.cached is None else api.cached * factor
    return replace(api, read=api.read * factor, cached=cached, written=api.written * factor)


def _faster(speed: MeasuredSpeed, factor: float) -> MeasuredSpeed:
    return replace(speed, reading_s=speed.reading_s / factor, answers_s=speed.answers_s / factor)
