"""Do two people, or a person and a judge, give the same labels, beyond what chance would give?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from descant.evaluation.statistics import Estimate, IntArray
from descant.schema.errors import InvalidData

KappaWeights = Literal["none", "linear", "quadratic"]
_STATSMODELS = {"none": None, "linear": "linear", "quadratic": "quadratic"}


@dataclass(frozen=True)
class Agreement:
    """Cohen's kappa of two raters."""

    rows: int
    """Labelled by both."""
    left_out: int
    """Labelled by one of them, or by none."""
    agreed: float
    """The share of the rows with the same label."""
    kappa: Estimate | None
    """1 is perfect, 0 chance; None where both always give the same single label."""

    def to_json(self) -> dict[str, Any]:
        """Return plain dictionaries."""
        return asdict(self)


def agreement(
    labels: Sequence[str],
    one: Sequence[str | None],
    other: Sequence[str | None],
    weights: KappaWeights = "none",
) -> Agreement | None:
    """Compare two raters row by row; None where they share no row.

    Weights are for ordered labels: a label next to the right one is half right, or nearly.

    Raises:
        InvalidData: the raters have not as many rows, or a label is not among `labels`.

    Source:
        Cohen, A Coefficient of Agreement for Nominal Scales, 1960, and Weighted Kappa, 1968; standard
        error of Fleiss, Cohen and Everitt, Large Sample Standard Errors of Kappa and Weighted Kappa,
        1969.
    """
    table = _table(labels, one, other)
    rows = int(table.sum())
    if rows == 0:
        return None
    agreed = float(np.trace(table) / rows)
    return Agreement(rows, len(one) - rows, agreed, kappa_of(table, weights))


def kappa_of(table: IntArray, weights: KappaWeights = "none") -> Estimate | None:
    """Return kappa of a table ``[L, L]`` of both raters' labels, with its 95 % interval.

    None where chance alone would agree wholly.
    """
    from statsmodels.stats.inter_rater import cohens_kappa

    if (table.sum(axis=0) > 0).sum() == 1 and (table.sum(axis=1) > 0).sum() == 1:
        return None
    with np.errstate(invalid="ignore"):
        found = cohens_kappa(table, wt=_STATSMODELS[weights])
    value = float(found.kappa)
    low, high = np.nan_to_num([found.kappa_low, found.kappa_upp], nan=value)
    return Estimate(value, max(min(float(low), value), -1.0), min(max(float(high), value), 1.0))


def _table(
    labels: Sequence[str], one: Sequence[str | None], other: Sequence[str | None]
) -> IntArray:
    if len(one) != len(other):
        raise InvalidData(f"One rater has {len(one)} rows, the other {len(other)}.", field="rows")
    index = {label: at for at, label in enumerate(labels)}
    table = np.zeros((len(labels), len(labels)), dtype=np.int64)
    for pair in zip(one, other, strict=True):
        for label in pair:
            if label is not None and label not in index:
                raise InvalidData(f"{label!r} is not one of the labels.", field="labels")
        if pair[0] is not None and pair[1] is not None:
            table[index[pair[0]], index[pair[1]]] += 1
    return table
