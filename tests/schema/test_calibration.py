from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from descant.schema import (
    Calibration,
    IsotonicCurve,
    IsotonicScaling,
    Scaling,
    TemperatureScaling,
    parse_calibration,
)
from descant.schema.errors import InvalidAdapter

HASH = "sha256:" + "0123456789abcdef" * 4
LABELS = ("bad", "fair", "good", "perfect")
TABLE: dict[str, Any] = {
    "method": "isotonic",
    "curves": {"yes": {"raw": [0.2, 0.5, 0.9], "calibrated": [0.1, 0.1, 0.7]}},
    "num_examples": 40,
    "data_hash": HASH,
}

temperatures = st.floats(0.01, 100.0).map(TemperatureScaling)
shares = st.floats(0.0, 1.0)


@st.composite
def curves(draw: st.DrawFn) -> IsotonicCurve:
    raw = sorted(draw(st.sets(shares, min_size=1, max_size=6)))
    inside = st.floats(0.001, 0.999)
    calibrated = sorted(draw(st.lists(inside, min_size=len(raw), max_size=len(raw))))
    return IsotonicCurve(tuple(raw), tuple(calibrated))


@st.composite
def scalings(draw: st.DrawFn) -> tuple[tuple[str, ...], Scaling]:
    """Labels, and a scaling for them."""
    labels = LABELS[: draw(st.integers(2, len(LABELS)))]
    if draw(st.booleans()):
        return labels, draw(temperatures)
    curved = labels if len(labels) > 2 else labels[1:]
    return labels, IsotonicScaling({label: draw(curves()) for label in curved})


@st.composite
def distributions(draw: st.DrawFn, labels: tuple[str, ...] = LABELS) -> dict[str, float]:
    weights = draw(
        st.lists(shares, min_size=len(labels), max_size=len(labels)).filter(lambda w: sum(w) > 0.01)
    )
    return {label: w / sum(weights) for label, w in zip(labels, weights, strict=True)}


@given(st.data(), scalings())
def test_what_comes_out_is_a_distribution_over_the_same_labels(
    data: st.DataObject, given_scaling: tuple[tuple[str, ...], Scaling]
) -> None:
    labels, scaling = given_scaling
    raw = data.draw(distributions(labels))
    calibrated = Calibration(scaling, 1, HASH).apply(raw)
    assert list(calibrated) == list(raw)
    assert all(0.0 <= share <= 1.0 for share in calibrated.values())
    assert sum(calibrated.values()) == pytest.approx(1.0)


@given(distributions())
def test_temperature_1_changes_nothing(raw: dict[str, float]) -> None:
    assert TemperatureScaling(1.0).apply(raw) == pytest.approx(raw, abs=1e-12)


@given(distributions(), temperatures)
def test_no_temperature_changes_the_order_of_labels(
    raw: dict[str, float], scaling: TemperatureScaling
) -> None:
    calibrated = scaling.apply(raw)
    for one in LABELS:
        for other in LABELS:
            if raw[one] >= raw[other]:
                assert calibrated[one] >= calibrated[other]


@given(distributions(), temperatures, temperatures)
def test_a_higher_temperature_is_never_surer(
    raw: dict[str, float], one: TemperatureScaling, other: TemperatureScaling
) -> None:
    cold, hot = sorted((one, other), key=lambda scaling: scaling.temperature)
    assert max(hot.apply(raw).values()) <= max(cold.apply(raw).values()) + 1e-12


def test_temperature_2_is_the_square_root() -> None:
    assert TemperatureScaling(2.0).apply({"no": 0.8, "yes": 0.2}) == pytest.approx(
        {"no": 2 / 3, "yes": 1 / 3}
    )
    assert TemperatureScaling(0.5).apply({"no": 0.75, "yes": 0.25, "so": 0.0}) == pytest.approx(
        {"no": 0.9, "yes": 0.1, "so": 0.0}
    )


@given(curves(), shares, shares)
def test_a_curve_never_falls_and_stays_within_its_ends(
    curve: IsotonicCurve, one: float, other: float
) -> None:
    low, high = sorted((one, other))
    ends = curve.calibrated[0], curve.calibrated[-1]
    assert ends[0] <= curve.at(low) <= curve.at(high) <= ends[1]


def test_a_curve_goes_through_its_points_and_is_straight_between() -> None:
    curve = IsotonicCurve((0.2, 0.5, 0.9), (0.1, 0.1, 0.7))
    told = {0.0: 0.1, 0.2: 0.1, 0.4: 0.1, 0.5: 0.1, 0.7: 0.4, 0.9: 0.7, 1.0: 0.7}
    assert {at: curve.at(at) for at in told} == pytest.approx(told)
    assert IsotonicCurve((0.5,), (0.3,)).at(0.9) == 0.3


def test_isotonic_may_change_the_label() -> None:
    curve = IsotonicCurve((0.0, 0.6, 1.0), (0.1, 0.2, 0.9))
    calibrated = IsotonicScaling({"yes": curve}).apply({"no": 0.4, "yes": 0.6})
    assert calibrated == pytest.approx({"no": 0.8, "yes": 0.2})


@given(scalings(), st.integers(1, 10**6))
def test_what_is_written_is_what_is_read(
    given_scaling: tuple[tuple[str, ...], Scaling], num_examples: int
) -> None:
    labels, scaling = given_scaling
    written = Calibration(scaling, num_examples, HASH)
    table = json.loads(json.dumps(written.to_json(), allow_nan=False))
    assert parse_calibration(table, labels, "manifest.json") == written
    assert table["method"] == written.method


def test_whole_numbers_are_numbers() -> None:
    table = {"method": "temperature", "temperature": 2, "num_examples": 40, "data_hash": HASH}
    read = parse_calibration(table, ("no", "yes"), "manifest.json")
    assert read.scaling == TemperatureScaling(2.0)


def curve(raw: object, calibrated: object = (0.2, 0.8)) -> dict[str, Any]:
    return {"curves": {"yes": {"raw": raw, "calibrated": calibrated}}}


def temperature(value: object) -> dict[str, Any]:
    return {"method": "temperature", "temperature": value, "num_examples": 1, "data_hash": HASH}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"method": "platt"}, "calibration.method"),
        ({"method": ["isotonic"]}, "calibration.method"),
        ({"method": "temperature"}, "calibration"),
        ({"colour": "red"}, "calibration"),
        ({"num_examples": 0}, "calibration.num_examples"),
        ({"num_examples": True}, "calibration.num_examples"),
        ({"num_examples": 4.0}, "calibration.num_examples"),
        ({"data_hash": "md5:0123456789"}, "calibration.data_hash"),
        ({"data_hash": None}, "calibration.data_hash"),
        ({"curves": []}, "calibration.curves"),
        ({"curves": {}}, "calibration.curves"),
        ({"curves": {**TABLE["curves"], "no": TABLE["curves"]["yes"]}}, "calibration.curves"),
        ({"curves": {"maybe": TABLE["curves"]["yes"]}}, "calibration.curves"),
        ({"curves": {"yes": {"raw": [0.5]}}}, "calibration.curves.yes"),
        (curve([0.1]), "calibration.curves.yes"),
        (curve([], []), "calibration.curves.yes.raw"),
        (curve("0.1"), "calibration.curves.yes.raw"),
        (curve([0.1, "0.2"]), "calibration.curves.yes.raw"),
        (curve([False, True]), "calibration.curves.yes.raw"),
        (curve([0.2, 0.2]), "calibration.curves.yes.raw"),
        (curve([0.3, 0.2]), "calibration.curves.yes.raw"),
        (curve([0.3, 1.5]), "calibration.curves.yes.raw"),
        (curve([0.3, 10**400]), "calibration.curves.yes.raw"),
        (curve([0.3, math.nan]), "calibration.curves.yes.raw"),
        (curve([0.1, 0.2], [0.3, 0.2]), "calibration.curves.yes.calibrated"),
        (curve([0.1, 0.2], [0.0, 0.2]), "calibration.curves.yes.calibrated"),
        (curve([0.1, 0.2], [0.2, 1.0]), "calibration.curves.yes.calibrated"),
        *[
            (temperature(value), "calibration.temperature")
            for value in (0, -1.0, 0.001, 1e6, 10**400, math.inf, math.nan, "2", None, True, [2.0])
        ],
    ],
)
def test_what_cannot_be_is_refused_by_file_and_field(change: dict[str, Any], field: str) -> None:
    table = {**TABLE, **change} if change.get("method") != "temperature" else change
    with pytest.raises(InvalidAdapter, match=r"^manifest\.json: calibration") as caught:
        parse_calibration(table, ("no", "yes"), "manifest.json")
    assert caught.value.field == field


@pytest.mark.parametrize("table", [None, [], "temperature", {}, 1])
def test_what_is_no_calibration_is_refused(table: object) -> None:
    with pytest.raises(InvalidAdapter, match="method"):
        parse_calibration(table, ("no", "yes"), "manifest.json")


def test_of_more_labels_each_needs_a_curve() -> None:
    one = TABLE["curves"]["yes"]
    whole = {**TABLE, "curves": dict.fromkeys(LABELS, one)}
    assert isinstance(parse_calibration(whole, LABELS, "m").scaling, IsotonicScaling)
    for labels in (LABELS[:1], LABELS[:3]):
        with pytest.raises(InvalidAdapter) as caught:
            parse_calibration({**TABLE, "curves": dict.fromkeys(labels, one)}, LABELS, "m")
        assert caught.value.field == "calibration.curves"
