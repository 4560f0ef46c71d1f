"""The soak in small: it runs, it judges, and it would notice."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.serve.histogram import quantile
from benchmarks.serve.soak import Asked, Seen, verdict

from tests.server.process import REPOSITORY

METRICS = """
lag_bucket{le="0.1",model_name="tiny"} 90.0
lag_bucket{le="0.5",model_name="tiny"} 99.0
lag_bucket{le="+Inf",model_name="tiny"} 100.0
"""


def test_two_hundred_mixed_requests_leave_nothing_behind(tmp_path: Path) -> None:
    output = tmp_path / "soak.json"
    # So few requests are all warm-up; whether memory stays is for the long run.
    options = ("--requests", "200", "--clients", "8", "--max-growth", "3", "--output", str(output))
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.serve.soak", *options],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(output.read_text())
    assert sum(result["answers"].values()) == 200
    assert len(result["answers"]) > 15
    assert result["loop_lag_samples"] > 0
    assert not result["problems"]


def test_what_is_wrong_is_a_problem() -> None:
    good = {
        "wrong": [],
        "rss_after_warm_up_bytes": 100,
        "rss_at_end_bytes": 109,
        "held_at_end": {"blocks": 0.0},
        "exit_code": 0,
    }
    assert verdict(good, 0.1) == []
    for change in (
        {"wrong": ["chat: 500"]},
        {"rss_at_end_bytes": 120},
        {"held_at_end": {"blocks": 0.1}},
        {"exit_code": -9},
    ):
        assert len(verdict({**good, **change}, 0.1)) == 1


def test_an_answer_that_is_not_right_is_kept() -> None:
    seen, asked = Seen(), Asked("load", "/", {}, frozenset({200, 404}))
    for status in (200, 404, 500):
        seen.note(asked, status, "why")
    assert seen.wrong == ["load: 500 why"]


@pytest.mark.parametrize(("share", "limit"), [(0.5, 0.1), (0.99, 0.5), (1.0, float("inf"))])
def test_a_quantile_is_the_limit_of_its_bucket(share: float, limit: float) -> None:
    assert quantile(METRICS, "lag", share) == limit
