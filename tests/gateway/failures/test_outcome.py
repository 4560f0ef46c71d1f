from __future__ import annotations

import json

import pytest
from aiohttp import (
    ClientConnectionError,
    ClientPayloadError,
    ServerDisconnectedError,
    ServerTimeoutError,
)
from hypothesis import given
from hypothesis import strategies as st

from descant.gateway.failures.outcome import (
    Outcome,
    may_come_again,
    may_go_elsewhere,
    outcome_of_error,
    outcome_of_status,
)


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, Outcome.ANSWERED),
        (302, Outcome.GARBAGE),
        (400, Outcome.CALLERS_ERROR),
        (401, Outcome.KEY_REFUSED),
        (402, Outcome.KEY_REFUSED),
        (403, Outcome.FORBIDDEN),
        (404, Outcome.CALLERS_ERROR),
        (408, Outcome.TIMED_OUT),
        (422, Outcome.CALLERS_ERROR),
        (429, Outcome.THROTTLED),
        (500, Outcome.FAILED),
        (502, Outcome.FAILED),
        (503, Outcome.OVERLOADED),
        (504, Outcome.TIMED_OUT),
        (529, Outcome.OVERLOADED),
        (999, Outcome.GARBAGE),
    ],
)
def test_statuses(status: int, outcome: Outcome) -> None:
    assert outcome_of_status(status) is outcome


def garbage() -> Exception:
    try:
        json.loads("<html>")
    except ValueError as error:
        return error
    raise AssertionError


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (TimeoutError(), Outcome.TIMED_OUT),
        (ServerTimeoutError(), Outcome.TIMED_OUT),
        (ConnectionResetError(), Outcome.FAILED),
        (ClientConnectionError(), Outcome.FAILED),
        (ServerDisconnectedError(), Outcome.FAILED),
        (ClientPayloadError(), Outcome.CUT),
        (garbage(), Outcome.GARBAGE),
    ],
)
def test_errors(error: Exception, outcome: Outcome) -> None:
    assert outcome_of_error(error) is outcome


@given(st.integers(100, 599))
def test_what_is_the_callers_fault_goes_nowhere_else(status: int) -> None:
    outcome = outcome_of_status(status)
    if outcome in (Outcome.ANSWERED, Outcome.CALLERS_ERROR):
        assert 200 <= status < 300 or 400 <= status < 500
        assert not may_go_elsewhere(outcome)
        assert not may_come_again(outcome)
    else:
        assert may_go_elsewhere(outcome)


def test_a_refused_key_is_not_tried_again_there() -> None:
    assert not may_come_again(Outcome.KEY_REFUSED)
    assert not may_come_again(Outcome.TIMED_OUT)
    assert may_come_again(Outcome.FAILED)
