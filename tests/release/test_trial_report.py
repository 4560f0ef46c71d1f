"""What a trial's log comes to, and when a trial must stop."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from descant.release import read_trial
from descant.schema.errors import InvalidData
from tests.cli.test_app import run


def record(indicator: str = "polite", *, agree: bool = True, **more: Any) -> dict[str, Any]:
    def side(adapter: str, label: str | None) -> dict[str, Any]:
        known = label is not None
        return {
            "adapter": adapter,
            "label": label,
            "length": len(label or ""),
            "confidence": 0.8 if known else None,
            "unanswered": not known,
        }

    return {
        "indicator": indicator,
        "answered_by": "champion",
        "agree": agree,
        "mirror_s": 0.1,
        "champion": side("sha256:a", "yes"),
        "challenger": side("sha256:b", "yes" if agree else "no"),
        **more,
    }


def write(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(each) + "\n" for each in records))
    return path


def test_both_sides_are_summed_up(tmp_path: Path) -> None:
    silent = {"adapter": "sha256:b", "label": None, "length": 0, "confidence": None}
    records = [record(), record(agree=False), record(agree=False, answered_by="challenger")]
    records.append(record(agree=False, challenger={**silent, "unanswered": True}))
    report = read_trial(write(tmp_path / "trial.jsonl", records), most=0.05)
    [row] = report.rows
    assert row.disagreement.estimate.value == 0.75
    assert row.answered_by_challenger == 1
    assert (row.champion.unanswered_share, row.challenger.unanswered_share) == (0.0, 0.25)
    assert row.challenger.mean_confidence == pytest.approx(0.8)
    assert row.champion.mean_length == 3
    assert row.champion.adapters == ("sha256:a",)
    json.dumps(report.to_json(), allow_nan=False)


def test_much_disagreement_stops_a_trial_and_little_is_safe(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mixed = [record("mood", agree=at % 3 > 0) for at in range(300)]
    path = write(tmp_path / "trial.jsonl", [*mixed, *(record() for _ in range(600))])
    report = read_trial(path, most=0.05)
    outcomes = {row.indicator: row.disagreement.outcome for row in report.rows}
    assert outcomes == {"mood": "stop", "polite": "safe"}
    assert run("trial", str(path)) == 4
    said = capsys.readouterr()
    assert "mood" in said.err
    assert "600" in said.out
    assert run("trial", str(path), "--most", "0.6", "--json") == 0
    assert json.loads(capsys.readouterr().out)["must_stop"] is False


@pytest.mark.parametrize("text", ["", '{"indicator": "a"}\n', '{"indicator": 3}\n', "[]\n"])
def test_what_is_no_trial_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "trial.jsonl"
    path.write_text(text)
    with pytest.raises(InvalidData):
        read_trial(path, most=0.05)
