"""Which variant is good enough: quality with intervals beside size, speed and cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table

from descant.cli.compare_run import Judged, LeftOut
from descant.evaluation import MeanComparison, Task, compare_paired

_HEADINGS = ("macro-F1", "less the best", "base", "adapter", "trained in", "a conversation")


@dataclass(frozen=True)
class CompareReport:
    """Variants on one task."""

    task: Task
    results: Sequence[Judged | LeftOut]
    margin: float
    price_per_hour: float | None

    @property
    def judged(self) -> list[Judged]:
        """Those that the budget had room for."""
        return [result for result in self.results if isinstance(result, Judged)]

    def comparisons(self) -> list[MeanComparison]:
        """Return each judged variant against the one with the highest score, in their order."""
        best = max(self.judged, key=lambda one: self._against(one, one).first)
        return [self._against(one, best) for one in self.judged]

    def good_enough(self) -> Judged | None:
        """Return the smallest variant that is surely less than the margin below the best.

        None where nothing was judged.
        """
        if not self.judged:
            return None
        enough = [
            one
            for one, compared in zip(self.judged, self.comparisons(), strict=True)
            if compared.difference.low > -self.margin or compared.difference.value == 0
        ]
        return min(enough, key=lambda one: (one.base_bytes, one.adapter_bytes))

    def to_json(self) -> dict[str, Any]:
        """Return plain dictionaries and lists."""
        chosen = self.good_enough()
        compared = iter(self.comparisons() if self.judged else ())
        return {
            "task": self.task.name,
            "conversations": len(self.task.rows),
            "margin": self.margin,
            "good_enough": chosen and chosen.variant.name,
            "variants": [
                self._judged_json(result, next(compared))
                if isinstance(result, Judged)
                else {"name": result.variant.name, "left_out": asdict(result)}
                for result in self.results
            ],
        }

    def to_parts(self) -> list[RenderableType]:
        """Return what to print."""
        parts: list[RenderableType] = [self._table()] if self.judged else []
        parts += [
            f"Left out: {out.variant.name} would take about {out.estimated_s:,.0f} s, "
            f"{out.remaining_s:,.0f} s are left of the budget."
            for out in self.results
            if isinstance(out, LeftOut)
        ]
        chosen = self.good_enough()
        if chosen is not None:
            parts.append(
                f"Good enough: {chosen.variant.name}, the smallest that is surely less than "
                f"{self.margin:g} macro-F1 below the best."
            )
        return parts

    def _against(self, one: Judged, other: Judged) -> MeanComparison:
        compared = compare_paired(self.task.indicators, one.predictions, other.predictions)
        assert compared is not None, "a task has rows"
        return compared

    def _money(self, result: Judged) -> float | None:
        """Return the cost of 1,000 conversations."""
        price = self.price_per_hour
        return None if price is None else price * result.score_s * 1000 / 3600

    def _judged_json(self, result: Judged, compared: MeanComparison) -> dict[str, Any]:
        return {
            "name": result.variant.name,
            **asdict(result.variant),
            "macro_f1": compared.first,
            "less_the_best": asdict(compared.difference),
            "base_parameters": result.base_parameters,
            "base_bytes": result.base_bytes,
            "adapter_bytes": result.adapter_bytes,
            "train_s": result.train_s,
            "score_s": result.score_s,
            "money_per_1000": self._money(result),
        }

    def _table(self) -> Table:
        priced = self.price_per_hour is not None
        table = Table(
            title=f"{len(self.task.indicators)} indicators on {self.task.name}",
            caption=f"Mean macro-F1 over the indicators of {len(self.task.rows)} conversations. "
            "In brackets: 95 % interval, conversations drawn in pairs.",
            box=SIMPLE_HEAD,
            padding=(0, 1, 0, 0),
        )
        table.add_column("variant", overflow="fold")
        for heading in (*_HEADINGS, *(["1,000 of them"] if priced else [])):
            table.add_column(heading, justify="right", no_wrap=True)
        for result, compared in zip(self.judged, self.comparisons(), strict=True):
            table.add_row(*self._cells(result, compared))
        return table

    def _cells(self, result: Judged, compared: MeanComparison) -> list[str]:
        less, money = compared.difference, self._money(result)
        cells = [
            result.variant.name,
            f"{compared.first:.3f}",
            f"{less.value:+.3f} [{less.low:+.3f}, {less.high:+.3f}]" if less.value else "best",
            f"{result.base_parameters / 1e6:,.0f} M",
            f"{result.adapter_bytes / 1e6:,.1f} MB",
            f"{result.train_s:,.1f} s",
            f"{result.score_s * 1e3:,.0f} ms",
        ]
        return cells if money is None else [*cells, f"{money:.4f}"]
