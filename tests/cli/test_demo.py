from __future__ import annotations

import json
from pathlib import Path

import pytest

import descant.data
from descant.data import hand_written_calls, read_jsonl, sample_indicators
from descant.registry import find_adapters
from descant.schema import Indicator, indicator_toml, load_indicator, load_indicators
from tests.cli.test_app import run
from tests.cli.tiny_folder import write_model


def test_the_demo_trains_judges_and_leaves_everything_to_try_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shortest = sorted(hand_written_calls(), key=lambda row: len(str(row)))[:4]
    monkeypatch.setattr(descant.data, "hand_written_calls", lambda: shortest)
    output = tmp_path / "demo"
    model = str(write_model(tmp_path / "model"))
    assert run("demo", "--calls", "8", "--output", str(output), "--model", model) == 0
    out, err = capsys.readouterr()
    assert "8 generated calls to train on, 4 written by hand to judge on" in err
    assert "bag-of-words" in out
    assert out.count("Scorecard of ") == 3
    assert "What to try next:" in out
    assert [row.transcript.id for row in read_jsonl(output / "test.jsonl")] == [
        row.transcript.id for row in shortest
    ]
    assert load_indicators(output / "indicators") == sample_indicators()
    report = json.loads((output / "report.json").read_text())
    assert len(report["indicators"]) == len(sample_indicators())
    assert report["training_calls"] == 8
    assert len(find_adapters(output / "adapters")) == len(sample_indicators())


def test_an_indicator_file_reads_back_as_it_was_written(tmp_path: Path) -> None:
    indicator = Indicator(
        name="mood",
        question='Was it "good" — \\ or\nbad?',
        labels=("bad", "good", "n/a"),
        positive=("good",),
        kind="ordinal",
        adapter="mood_v2",
        section="care",
        weight=0.5,
        critical=True,
        auto_fail=("bad",),
        not_applicable="n/a",
    )
    path = tmp_path / "mood.toml"
    path.write_text(indicator_toml(indicator), encoding="utf-8")
    assert load_indicator(path) == indicator
