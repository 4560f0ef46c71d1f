"""Calibration: from a model's probabilities to ones that come true as often as they say.

Fitted by `descant.evaluation` on labelled conversations, kept in an adapter's manifest and applied to
each of its answers; plain Python, for nothing is loaded to serve it.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NoReturn, TypeGuard

from descant.schema.errors import InvalidAdapter

_HASH = re.compile(r"sha256:[0-9a-f]{8,64}")
_COLDEST, _HOTTEST = 0.01, 100.0


@dataclass(frozen=True)
class TemperatureScaling:
    """Every probability to the power of 1 / temperature; the order of the labels stays.

    Source:
        Guo et al., On Calibration of Modern Neural Networks, 2017, section 4.2.
    """

    temperature: float
    """Above 1 makes less sure, below 1 surer."""

    def apply(self, probabilities: Mapping[str, float]) -> dict[str, float]:
        """Return what probabilities over all labels become; their sum is 1."""
        top = math.log(max(probabilities.values()))
        weights = {
            label: math.exp((math.log(share) - top) / self.temperature) if share > 0 else 0.0
            for label, share in probabilities.items()
        }
        total = sum(weights.values())
        return {label: weight / total for label, weight in weights.items()}

    def to_json(self) -> dict[str, Any]:
        """Return the method and its parameter."""
        return {"method": "temperature", "temperature": self.temperature}


@dataclass(frozen=True)
class IsotonicCurve:
    """Straight lines from point to point that never fall; level before the first and after the last."""

    raw: tuple[float, ...]
    """Rising."""
    calibrated: tuple[float, ...]
    """Never falling, between 0 and 1 and neither of them: what has not been seen is not impossible."""

    def at(self, probability: float) -> float:
        """Return what a probability becomes."""
        right = bisect_right(self.raw, probability)
        if right in (0, len(self.raw)):
            return self.calibrated[max(right - 1, 0)]
        (left_x, right_x), (left_y, right_y) = (
            points[right - 1 : right + 1] for points in (self.raw, self.calibrated)
        )
        share = (probability - left_x) / (right_x - left_x)
        # Rounding could go past the point, and a curve that rises could then fall there.
        return min(right_y, left_y + (right_y - left_y) * share)


@dataclass(frozen=True)
class IsotonicScaling:
    """A curve for one of two labels, or for each of more, whose results are divided by their sum.

    Source:
        Zadrozny and Elkan, Transforming Classifier Scores into Accurate Multiclass Probability
        Estimates, 2002.
    """

    curves: Mapping[str, IsotonicCurve]
    """By label."""

    def apply(self, probabilities: Mapping[str, float]) -> dict[str, float]:
        """Return what probabilities over all labels become; their sum is 1."""
        shares = {label: curve.at(probabilities[label]) for label, curve in self.curves.items()}
        if len(shares) == 1:
            [(curved, share)] = shares.items()
            return {label: share if label == curved else 1 - share for label in probabilities}
        total = sum(shares.values())
        return {label: shares[label] / total for label in probabilities}

    def to_json(self) -> dict[str, Any]:
        """Return the method and its parameters."""
        curves = {
            label: {"raw": list(curve.raw), "calibrated": list(curve.calibrated)}
            for label, curve in self.curves.items()
        }
        return {"method": "isotonic", "curves": curves}


Scaling = TemperatureScaling | IsotonicScaling


@dataclass(frozen=True)
class Calibration:
    """How one adapter's probabilities are calibrated, and what that was learned from."""

    scaling: Scaling
    num_examples: int
    """Labelled answers it was fitted on."""
    data_hash: str
    """``sha256:…`` over the conversations it was fitted on."""

    @property
    def method(self) -> str:
        """``temperature`` or ``isotonic``."""
        return "temperature" if isinstance(self.scaling, TemperatureScaling) else "isotonic"

    def apply(self, probabilities: Mapping[str, float]) -> dict[str, float]:
        """Return what probabilities over all labels become; their sum is 1."""
        return self.scaling.apply(probabilities)

    def to_json(self) -> dict[str, Any]:
        """Return what `parse_calibration` reads."""
        told = {"num_examples": self.num_examples, "data_hash": self.data_hash}
        return {**self.scaling.to_json(), **told}


def parse_calibration(table: object, labels: Sequence[str], origin: str) -> Calibration:
    """Build a calibration of an indicator with these labels from JSON; `origin` is named in errors.

    Raises:
        InvalidAdapter: a key is missing, unknown or has a value that cannot be; names it.
    """
    place = _Place(origin, "calibration")
    method = table.get("method") if isinstance(table, Mapping) else None
    if method not in ("temperature", "isotonic"):
        place.refuse("must be an object whose method is temperature or isotonic", "method")
    parameter = "temperature" if method == "temperature" else "curves"
    known = place.keys_of(table, {"method", parameter, "num_examples", "data_hash"})
    if type(known["num_examples"]) is not int or known["num_examples"] < 1:
        place.refuse("must be a whole number above 0", "num_examples")
    if not isinstance(known["data_hash"], str) or not _HASH.fullmatch(known["data_hash"]):
        place.refuse("must be a hash: sha256: and hexadecimal digits", "data_hash")
    below = place.below(parameter)
    scaling: Scaling = (
        _temperature(known[parameter], below)
        if method == "temperature"
        else _isotonic(known[parameter], labels, below)
    )
    return Calibration(scaling, known["num_examples"], known["data_hash"])


@dataclass(frozen=True)
class _Place:
    """Where in which file something is read."""

    origin: str
    field: str

    def below(self, key: str) -> _Place:
        return _Place(self.origin, f"{self.field}.{key}")

    def refuse(self, reason: str, key: str = "") -> NoReturn:
        field = f"{self.field}.{key}" if key else self.field
        raise InvalidAdapter(f"{self.origin}: {field} {reason}.", field=field)

    def keys_of(self, table: object, known: Set[str]) -> Mapping[str, Any]:
        if not isinstance(table, Mapping) or set(table) != known:
            self.refuse(f"must have exactly these keys: {', '.join(sorted(known))}")
        return table


def _temperature(value: object, place: _Place) -> TemperatureScaling:
    if not _is_number(value) or not _COLDEST <= value <= _HOTTEST:
        place.refuse(f"must be a number from {_COLDEST} to {_HOTTEST}")
    return TemperatureScaling(float(value))


def _isotonic(table: object, labels: Sequence[str], place: _Place) -> IsotonicScaling:
    if not isinstance(table, Mapping):
        place.refuse("must be an object")
    is_whole = len(table) == 1 if len(labels) == 2 else len(table) == len(labels)
    if not is_whole or not set(table) <= set(labels):
        place.refuse("must have a curve for one of two labels, or for each of more")
    return IsotonicScaling(
        {label: _curve(curve, place.below(label)) for label, curve in table.items()}
    )


def _curve(table: object, place: _Place) -> IsotonicCurve:
    known = place.keys_of(table, {"raw", "calibrated"})
    raw = _shares(known["raw"], place.below("raw"))
    calibrated = _shares(known["calibrated"], place.below("calibrated"))
    if len(raw) != len(calibrated):
        place.refuse("must have as many values in raw as in calibrated")
    if any(right <= left for left, right in pairwise(raw)):
        place.refuse("must rise", "raw")
    if any(right < left for left, right in pairwise(calibrated)):
        place.refuse("must not fall", "calibrated")
    if not 0 < calibrated[0] <= calibrated[-1] < 1:
        place.refuse("must be above 0 and below 1", "calibrated")
    return IsotonicCurve(raw, calibrated)


def _shares(values: object, place: _Place) -> tuple[float, ...]:
    if not isinstance(values, list | tuple) or not values:
        place.refuse("must be a list of numbers")
    if not all(_is_number(value) and 0 <= value <= 1 for value in values):
        place.refuse("must be a list of numbers from 0 to 1")
    return tuple(map(float, values))


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
