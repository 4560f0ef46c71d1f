"""What a teacher says beside a label: a probability for each label, and how much the label counts.

Both are tables of numbers by indicator, and stand only beside a label::

    "probabilities": {"greeting": {"yes": 0.9, "no": 0.1}}, "weights": {"greeting": 0.75}
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from descant.schema import LabelledTranscript
from descant.schema.errors import InvalidData

_SUM_TOLERANCE = 1e-3


def parse_probabilities(
    tables: object, labels: Mapping[str, str | None], origin: str
) -> dict[str, dict[str, float]]:
    """Return the soft labels of one conversation; `origin` is named in errors.

    Raises:
        InvalidData: they are not tables of probabilities that sum to 1, or stand beside no label.
    """
    _check_beside_labels(tables, labels, "probabilities", origin)
    return {name: _distribution(table, name, origin) for name, table in _items(tables)}


def parse_weights(
    weights: object, labels: Mapping[str, str | None], origin: str
) -> dict[str, float]:
    """Return the weights of one conversation's labels; `origin` is named in errors.

    Raises:
        InvalidData: they are not numbers above 0, or stand beside no label.
    """
    _check_beside_labels(weights, labels, "weights", origin)
    for name, weight in _items(weights):
        if not _is_number(weight) or not weight > 0:
            raise InvalidData(
                f"{origin}: weight of {name!r} must be a number above 0, not {weight!r}.",
                field=f"weights.{name}",
            )
    return {name: float(weight) for name, weight in _items(weights)}


def soft_label_tables(row: LabelledTranscript) -> dict[str, Any]:
    """Return what a file says beside the labels; nothing where there is nothing."""
    tables = {
        "probabilities": {name: dict(table) for name, table in row.probabilities.items()},
        "weights": dict(row.weights),
    }
    return {key: table for key, table in tables.items() if table}


def _distribution(table: object, name: str, origin: str) -> dict[str, float]:
    field = f"probabilities.{name}"
    if not isinstance(table, dict) or not table:
        raise InvalidData(
            f"{origin}: probabilities of {name!r} must be an object with a number for each label.",
            field=field,
        )
    for label, share in table.items():
        if not _is_number(share) or not 0 <= share <= 1:
            raise InvalidData(
                f"{origin}: the probability of {label!r} of {name!r} must be a number from 0 to 1, "
                f"not {share!r}.",
                field=field,
            )
    if abs(math.fsum(table.values()) - 1) > _SUM_TOLERANCE:
        raise InvalidData(
            f"{origin}: probabilities of {name!r} sum to {math.fsum(table.values()):.4g}, not to 1.",
            field=field,
        )
    return {label: float(share) for label, share in table.items()}


def _check_beside_labels(
    tables: object, labels: Mapping[str, str | None], key: str, origin: str
) -> None:
    if not isinstance(tables, dict):
        raise InvalidData(f"{origin}: {key} must be an object.", field=key)
    for name in tables:
        if labels.get(name) is None:
            raise InvalidData(
                f"{origin}: {key} of {name!r} stand beside no label.",
                field=f"{key}.{name}",
                remedy=f"Give {name!r} a label, or leave its {key} out.",
            )


def _items(tables: object) -> list[tuple[str, Any]]:
    assert isinstance(tables, dict), "it was checked"
    return list(tables.items())


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
