"""A champion passes the gate, or is forced with a reason; the trail has the evidence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from descant.data import read_jsonl, write_jsonl
from descant.schema import LabelledTranscript
from tests.cli.test_app import run
from tests.cli.tiny_folder import write_calls, write_indicators, write_model, write_recipe

POLICY = """
[task]
name = "calls"
data = "data.jsonl"
indicators = "indicators"

[release]
margin = 0.05
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("promotion")
    write_model(place / "model")
    write_indicators(place / "indicators")
    write_calls(place / "train.jsonl", 16)
    write_calls(place / "data.jsonl", 80)
    settings = "rank = 8\nlearning_rate = 2e-2\nepochs = 20\nmin_steps = 1\n"
    assert run("train", str(write_recipe(place / "recipe.toml", settings))) == 0
    (place / "policy.toml").write_text(POLICY)
    (place / "gain.toml").write_text(f"{POLICY}must_gain = true\n")
    rows = list(read_jsonl(place / "data.jsonl"))
    opposite = {"yes": "no", "no": "yes"}
    for name, flip in (("right", False), ("wrong", True)):
        answers = [
            LabelledTranscript(
                row.transcript,
                {"polite": opposite[str(row.labels["polite"])] if flip else row.labels["polite"]},
            )
            for row in rows
        ]
        write_jsonl(place / f"{name}.jsonl", answers)
    return place


@pytest.fixture
def place(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DESCANT_REGISTRY", str(tmp_path / "registry"))
    monkeypatch.chdir(folder)
    assert run("registry", "add", "adapters") == 0
    return folder


def version(capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert run("registry", "list", "polite", "--json") == 0
    return f"polite@{json.loads(capsys.readouterr().out)[0]['version']}"


def trail(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert run("registry", "log", "polite", "--alias", "champion", "--json") == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return found


def promote(named: str, *more: str) -> int:
    return run("promote", named, "--reason", "better", "--model", "model", *more)


def test_what_beats_the_champion_is_promoted_and_the_evidence_kept(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    better = ("--policy", "policy.toml", "--champion", "wrong.jsonl", "--page", "page.html")
    assert promote(version(capsys), *better) == 0
    [entry] = trail(capsys)
    assert entry["evidence"]["gate"]["verdict"] == "promote"
    assert entry["forced_reason"] is None
    assert (place / "page.html").exists()


@pytest.mark.usefixtures("place")
def test_what_does_not_is_refused_and_nothing_changes(capsys: pytest.CaptureFixture[str]) -> None:
    named = version(capsys)
    # As good as it gets, but not better than what is.
    equal = ("--policy", "gain.toml", "--champion", "right.jsonl")
    assert promote(named, *equal) == 4
    assert "not shown to be better" in " ".join(capsys.readouterr().err.split())
    assert trail(capsys) == []
    assert promote(named, *equal, "--force", "the other one leaks data") == 0
    [entry] = trail(capsys)
    assert entry["forced_reason"] == "the other one leaks data"


@pytest.mark.usefixtures("place")
def test_without_a_policy_or_a_champion_it_says_what_to_do(
    capsys: pytest.CaptureFixture[str],
) -> None:
    named = version(capsys)
    assert promote(named) == 2
    assert "--policy" in capsys.readouterr().err
    assert promote(named, "--policy", "policy.toml") == 2
    assert "--champion bag-of-words" in capsys.readouterr().err
    assert promote(named, "--to", "challenger") == 0
