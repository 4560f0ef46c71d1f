"""The parts of a request's time: they add up, and the header is one."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from descant.gateway.watching import Part, Timings
from tests.gateway.watching.clocks import ticking

PARTS: tuple[Part, ...] = ("auth", "limit", "cache", "route", "upstream_first_byte", "upstream")
# RFC 9110's token, and W3C Server Timing's parameter, whose value here is a plain number.
TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
METRIC = re.compile(rf"{TOKEN};dur=\d+(\.\d+)?")


def test_what_lies_between_two_marks_is_the_seconds() -> None:
    timings = Timings(ticking(10.0, 10.001, 10.003, 10.203, 10.303))
    timings.mark("auth")
    timings.mark("route")
    timings.mark("upstream_first_byte")
    timings.mark("upstream")
    assert timings.header() == (
        "auth;dur=1.000, route;dur=2.000, upstream_first_byte;dur=200.000, "
        "upstream;dur=100.000, total;dur=303.000"
    )
    assert timings.total_s == pytest.approx(0.303)
    assert timings.added_s == pytest.approx(0.003)
    assert list(timings.seconds()) == ["auth", "route", "upstream_first_byte", "upstream"]


def test_nothing_marked_is_nothing_spent() -> None:
    timings = Timings(ticking(5.0))
    assert (timings.total_s, timings.added_s, timings.seconds()) == (0.0, 0.0, {})
    assert timings.header() == "total;dur=0.000"


@given(st.lists(st.tuples(st.sampled_from(PARTS), st.floats(0, 100))))
def test_parts_add_up_however_often_they_come(marks: list[tuple[Part, float]]) -> None:
    def clock() -> Iterator[float]:
        now_s = 1000.0
        yield now_s
        for _, spent_s in marks:
            now_s += spent_s
            yield now_s

    timings = Timings(clock().__next__)
    for part, _ in marks:
        timings.mark(part)
    slow = {part: sum(s for p, s in marks if p == part) for part in {part for part, _ in marks}}
    assert timings.seconds() == pytest.approx(slow, abs=1e-9)
    assert timings.total_s == pytest.approx(sum(slow.values()), abs=1e-9)
    elsewhere = sum(slow.get(part, 0) for part in ("upstream_first_byte", "upstream"))
    assert timings.added_s == pytest.approx(timings.total_s - elsewhere, abs=1e-9)
    metrics = timings.header().split(", ")
    assert all(METRIC.fullmatch(metric) for metric in metrics)
    assert len(metrics) == len(slow) + 1
