"""Indicators whose answer is a short text, beside what people wrote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from descant.evaluation.free_text import rouge_l
from descant.evaluation.row_scores import MeanScore, score_rows
from descant.evaluation.similarity import Embedder, cosine_scores
from descant.evaluation.task import Predictions
from descant.schema import Indicator


@dataclass(frozen=True)
class TextResult:
    """How near the texts of one indicator are to those expected."""

    indicator: str
    same: MeanScore
    """The share that is the same, capitals apart."""
    rouge_l: MeanScore
    similarity: MeanScore | None = None
    """Mean cosine of embeddings, from -1 to 1; None where nobody embeds. Near is not right: it stands
    beside the others and decides no release."""

    def to_json(self) -> dict[str, Any]:
        """Return plain dictionaries."""
        return asdict(self)


def score_texts(
    indicators: Sequence[Indicator],
    predictions: Predictions,
    seed: int = 0,
    embedder: Embedder | None = None,
) -> tuple[TextResult, ...]:
    """Score the indicators whose answer is a text; what is unanswered has no score and is counted."""
    return tuple(
        _score(indicator, predictions, seed, embedder)
        for indicator in indicators
        if indicator.is_text
    )


def text_table(results: Sequence[TextResult]) -> Table:
    """Return the table to print; intervals are 95 %."""
    table = Table(
        title="Texts",
        caption="ROUGE-L: words in common, in order, from 0 to 1. Cosine: of embeddings, from -1 to 1; "
        "near is not right. In brackets: 95 % interval.",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("indicator", overflow="fold")
    for heading in ("texts", "the same", "ROUGE-L", "cosine", "unanswered"):
        table.add_column(heading, justify="right", no_wrap=True)
    for each in results:
        scores = (each.same, each.rouge_l, each.similarity)
        cells = (str(each.same.scored), *map(_cell, scores))
        table.add_row(each.indicator, *cells, str(each.same.unscored))
    return table


def _score(
    indicator: Indicator, predictions: Predictions, seed: int, embedder: Embedder | None
) -> TextResult:
    outcomes = predictions.of(indicator.name)
    expected = [outcome.expected for outcome in outcomes]
    written = [outcome.answer.label for outcome in outcomes]
    return TextResult(
        indicator.name,
        score_rows(expected, written, _is_same, seed),
        score_rows(expected, written, rouge_l, seed),
        None if embedder is None else cosine_scores(expected, written, embedder, seed),
    )


def _is_same(expected: str, text: str) -> float:
    return float(expected.casefold() == text.casefold())


def _cell(score: MeanScore | None) -> str:
    if score is None or score.mean is None:
        return "-"
    return f"{score.mean.value:.2f} [{score.mean.low:.2f}, {score.mean.high:.2f}]"
