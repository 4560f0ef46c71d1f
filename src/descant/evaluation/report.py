"""What an evaluation found: per indicator, our figures beside those of the baselines.

One report is both a table for people and JSON for programs; both come from the same fields.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from descant.evaluation.comparison import Comparison, compare_answers
from descant.evaluation.reliability import Reliability
from descant.evaluation.scorers import IndicatorResult, score_indicator
from descant.evaluation.significance import holm_p_values
from descant.evaluation.similarity import Embedder
from descant.evaluation.statistics import Estimate
from descant.evaluation.task import Predictions
from descant.evaluation.text_answers import TextResult, score_texts, text_table
from descant.schema import Indicator
from descant.schema.errors import InvalidData


@dataclass(frozen=True)
class ReportRow:
    """One indicator."""

    indicator: str
    ours: IndicatorResult
    baselines: Mapping[str, IndicatorResult]
    """By the name of the baseline; the same conversations as ours."""
    comparisons: Mapping[str, Comparison]
    """Ours against each baseline."""


@dataclass(frozen=True)
class EvaluationReport:
    """One task, judged."""

    task: str
    rows: tuple[ReportRow, ...]
    """Of the indicators that have labels."""
    texts: tuple[TextResult, ...] = ()
    """Of the others."""

    def mean_macro_f1(self, baseline: str | None = None) -> float | None:
        """Return the mean macro-F1 over the indicators that have one; ours, or a baseline's."""
        results = [row.ours if baseline is None else row.baselines[baseline] for row in self.rows]
        values = [result.macro_f1.value for result in results if result.macro_f1 is not None]
        return fmean(values) if values else None

    def holm_p_values(self, baseline: str) -> dict[str, float]:
        """Return p-values of ours against a baseline by indicator, for asking about all at once."""
        found = holm_p_values([row.comparisons[baseline].p_value for row in self.rows])
        return {row.indicator: p_value for row, p_value in zip(self.rows, found, strict=True)}

    @property
    def baselines(self) -> tuple[str, ...]:
        """The names of the baselines, in the order of the table."""
        return tuple(self.rows[0].baselines) if self.rows else ()

    def to_json(self) -> dict[str, Any]:
        """Return plain dictionaries and lists; a score that is not defined is null."""
        return {
            "task": self.task,
            "mean_macro_f1": {
                "ours": self.mean_macro_f1(),
                **{name: self.mean_macro_f1(name) for name in self.baselines},
            },
            "indicators": [_row_json(row) for row in self.rows],
            "texts": [result.to_json() for result in self.texts],
            "holm_p_values": {name: self.holm_p_values(name) for name in self.baselines},
        }

    def to_tables(self) -> list[Table]:
        """Return the tables to print: of labels, and of texts."""
        texts = [text_table(self.texts)] if self.texts else []
        return [self.to_table(), *texts] if self.rows else texts

    def to_table(self) -> Table:
        """Return the table to print; intervals are 95 %."""
        caption = "In brackets: 95 % interval. ECE, Brier: less is better. -: not defined."
        table = Table(title=self.task, caption=caption, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        # Only names may be folded in a narrow terminal; a number cut short would be a wrong one.
        table.add_column("indicator", overflow="fold")
        headings = ["positive", "F1", "macro-F1", "ECE", "Brier"]
        headings += [f"{name}\nF1 macro-F1" for name in self.baselines]
        if self._num_unanswered():
            headings.append("un-\nanswered")
        for heading in headings:
            table.add_column(heading, justify="right", no_wrap=True)
        for row in self.rows:
            table.add_row(*self._cells(row))
        table.add_section()
        table.add_row(*self._mean_cells())
        return table

    def _num_unanswered(self) -> int:
        return sum(row.ours.unanswered for row in self.rows)

    def _cells(self, row: ReportRow) -> list[str]:
        ours = row.ours
        cells = [row.indicator, f"{ours.positives}/{ours.support}"]
        cells += [_with_interval(ours.f1), _plain(ours.macro_f1)]
        cells += _reliability_cells(ours.reliability)
        cells += [
            _pair(_plain(result.f1), _plain(result.macro_f1)) for result in row.baselines.values()
        ]
        return [*cells, str(ours.unanswered)] if self._num_unanswered() else cells

    def _mean_cells(self) -> list[str]:
        cells = ["mean", "", "", _number(self.mean_macro_f1()), "", ""]
        cells += [_pair("", _number(self.mean_macro_f1(name))) for name in self.baselines]
        return [*cells, str(self._num_unanswered())] if self._num_unanswered() else cells


def build_report(
    indicators: Sequence[Indicator],
    ours: Predictions,
    baselines: Mapping[str, Predictions],
    seed: int = 0,
    embedder: Embedder | None = None,
) -> EvaluationReport:
    """Score predictions of one task; the seed is the bootstrap's, `embedder` is for texts.

    Raises:
        InvalidData: a baseline was run on other conversations than ours.
    """
    asked = [(outcome.transcript_id, outcome.indicator) for outcome in ours.outcomes]
    for name, predictions in baselines.items():
        if [(item.transcript_id, item.indicator) for item in predictions.outcomes] != asked:
            raise InvalidData(
                f"Baseline {name!r} was not asked the same questions.",
                field="baselines",
                remedy="Run it on the same task.",
            )
    rows = tuple(
        ReportRow(
            indicator.name,
            score_indicator(indicator, ours.of(indicator.name), seed),
            {
                name: score_indicator(indicator, predictions.of(indicator.name), seed)
                for name, predictions in baselines.items()
            },
            {
                name: compare_answers(
                    indicator, ours.of(indicator.name), predictions.of(indicator.name), seed
                )
                for name, predictions in baselines.items()
            },
        )
        for indicator in indicators
        if not indicator.is_text
    )
    return EvaluationReport(ours.task, rows, score_texts(indicators, ours, seed, embedder))


def _row_json(row: ReportRow) -> dict[str, Any]:
    baselines = {name: result.to_json() for name, result in row.baselines.items()}
    comparisons = {name: found.to_json() for name, found in row.comparisons.items()}
    return {
        "indicator": row.indicator,
        "ours": row.ours.to_json(),
        "baselines": baselines,
        "comparisons": comparisons,
    }


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _pair(f1: str, macro_f1: str) -> str:
    return f"{f1}{macro_f1:>9}"


def _plain(estimate: Estimate | None) -> str:
    return _number(None if estimate is None else estimate.value)


def _reliability_cells(found: Reliability | None) -> list[str]:
    estimates = (None, None) if found is None else (found.ece, found.brier)
    return [_plain(estimate) for estimate in estimates]


def _with_interval(estimate: Estimate | None) -> str:
    if estimate is None:
        return "-"
    return f"{estimate.value:.2f} [{estimate.low:.2f}, {estimate.high:.2f}]"
