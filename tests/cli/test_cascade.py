"""From recorded answers to a thresholds file that a gateway reads."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from descant.cli.cascade import build
from descant.gateway.cascade import load_thresholds
from descant.schema.errors import InvalidConfig, InvalidData


def write_records(path: Path, indicators: tuple[str, ...] = ("refund",), rows: int = 500) -> Path:
    draw = random.Random(1)
    with path.open("w") as file:
        for indicator in indicators:
            for number in range(rows):
                sure = draw.betavariate(8, 1)
                small = "yes" if draw.random() < sure else "no"
                stages = [
                    {"model": "small", "label": small, "confidence": sure, "cost": 0.0001},
                    {"model": "large", "label": "yes", "confidence": None, "cost": 0.004},
                ]
                row = {"id": f"c{number}", "indicator": indicator, "gold": "yes", "stages": stages}
                file.write(json.dumps(row) + "\n")
    return path


def run(*arguments: object) -> str:
    app = typer.Typer()
    app.add_typer(build(), name="cascade")
    runner = CliRunner(env={"COLUMNS": "160"})
    done = runner.invoke(app, ["cascade", "fit", *map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_a_file_is_written_that_a_gateway_reads(tmp_path: Path) -> None:
    records, out = write_records(tmp_path / "r.jsonl"), tmp_path / "t.toml"
    printed = run(records, "--max-error", 0.05, "--out", out)
    threshold = load_thresholds(out).units["refund"].models["small"].threshold
    assert threshold is not None
    assert 0.05 < threshold < 1
    assert "at most 0.05 wrong at 95% confidence" in out.read_text()
    for word in ("refund", "small", "large", "5.00%", f"{threshold:.3g}", str(out.name)):
        assert word in printed


def test_json_says_the_same_and_what_is_saved(tmp_path: Path) -> None:
    records = write_records(tmp_path / "r.jsonl", ("b", "a"))
    told = json.loads(run(records, "--max-error", 0.05, "--json"))
    assert [one["indicator"] for one in told["fits"]] == ["a", "b"]
    for one in told["fits"]:
        assert one["saved"] == pytest.approx(1 - one["cost_per_1000"] / 4)
        assert 0 < one["saved"] < 1
        assert one["error"] <= one["error_bound"] == 0.05


def test_money_is_a_bound_too(tmp_path: Path) -> None:
    records = write_records(tmp_path / "r.jsonl")
    [one] = json.loads(run(records, "--max-cost", 2.0, "--json"))["fits"]
    assert one["cost_per_1000"] <= 2.0


def test_curves_and_labels_go_into_the_file(tmp_path: Path) -> None:
    records, out = write_records(tmp_path / "r.jsonl", rows=900), tmp_path / "t.toml"
    run(records, "--max-error", 0.05, "--calibrate", "--by-label", "--out", out)
    one = load_thresholds(out).units["refund"].models["small"]
    assert one.raw
    assert set(one.labels) <= {"yes", "no"}
    assert "yes" in one.labels


def test_a_bound_that_cannot_be_kept_says_why_and_takes_nothing(tmp_path: Path) -> None:
    records, out = write_records(tmp_path / "r.jsonl"), tmp_path / "t.toml"
    assert "The last model alone" in run(records, "--max-error", 0.001, "--out", out)
    assert load_thresholds(out).units["refund"].models["small"].threshold is None


@pytest.mark.parametrize("bounds", [[], ["--max-error", "0.1", "--max-cost", "1"]])
def test_one_bound_is_needed(tmp_path: Path, bounds: list[str]) -> None:
    with pytest.raises(InvalidConfig, match="one of"):
        run(write_records(tmp_path / "r.jsonl"), *bounds)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text("\n")
    with pytest.raises(InvalidData, match="no record"):
        run(tmp_path / "r.jsonl", "--max-error", 0.1)
