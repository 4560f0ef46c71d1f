"""The command on a tiny model with random adapters: what it writes, says and refuses."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from descant.data import data_hash
from descant.llm import LLM
from descant.registry import Manifest, read_manifest, write_manifest
from descant.schema import Indicator, load_indicators
from tests.cli.test_app import run
from tests.cli.tiny_folder import calls, write_calls
from tests.server.served import serve_tiny


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, two adapters and 40 labelled calls, of which 30 are labelled for ``mood``."""
    folder = tmp_path_factory.mktemp("calibrate")
    serve_tiny(folder)
    write_calls(folder / "dev.jsonl", 40)
    return folder


@pytest.fixture
def place(source: Path, tmp_path: Path) -> Path:
    shutil.copytree(source, tmp_path, dirs_exist_ok=True)
    return tmp_path


def asked(place: Path, data: str = "dev.jsonl", *more: str) -> list[str]:
    places = ["--indicators", str(place / "indicators"), "--adapters", str(place / "adapters")]
    return [str(place / data), *places, "--model", str(place / "model"), *more]


def manifest(place: Path, name: str) -> Manifest:
    return read_manifest(place / "adapters" / name)


def calibration(place: Path, name: str) -> dict[str, Any]:
    table = manifest(place, name).calibration
    assert table is not None
    return dict(table)


def test_a_calibration_is_written_told_and_used(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = manifest(place, "polite")
    assert run("calibrate", *asked(place, "dev.jsonl", "--method", "temperature", "--json")) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["task"], told["conversations"]) == ("dev", 40)
    mood, polite = told["indicators"]
    assert (polite["indicator"], polite["method"], polite["num_examples"]) == (
        "polite",
        "temperature",
        40,
    )
    assert mood["num_examples"] == 30
    assert set(polite["change"]) == {"nll", "brier", "ece", "ece_equal_width"}
    assert polite["change"]["nll"]["value"] == pytest.approx(
        polite["after"]["nll"]["value"] - polite["before"]["nll"]["value"]
    )
    written = calibration(place, "polite")
    assert written == {
        **polite["scaling"],
        "num_examples": 40,
        "data_hash": data_hash(calls("dev", 40)),
    }
    after = manifest(place, "polite")
    assert replace(after, calibration=None) == before
    llm = LLM(place / "model", adapters=place / "adapters")
    assert llm.adapter("polite").content_hash == before.content_hash
    for answer in llm.score(calls("new", 1)[0].transcript).answers:
        assert answer.raw_probabilities is not None
        assert answer.probabilities != answer.raw_probabilities
        assert sum(answer.probabilities.values()) == pytest.approx(1.0)
        raw = answer.raw_probabilities
        assert answer.label == max(raw, key=raw.__getitem__)


def test_a_second_calibration_begins_with_what_the_model_gave(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fits = []
    for _ in range(2):
        assert run("calibrate", *asked(place, "dev.jsonl", "--method", "isotonic", "--json")) == 0
        fits.append(json.loads(capsys.readouterr().out)["indicators"])
    assert fits[0] == fits[1]
    assert calibration(place, "polite")["method"] == "isotonic"
    assert run("evaluate", *asked(place, "dev.jsonl", "--json")) == 0
    _, polite = json.loads(capsys.readouterr().out)["indicators"]
    assert polite["ours"]["reliability"]["nll"] != fits[0][1]["before"]["nll"]


def test_none_takes_a_calibration_away(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("calibrate", *asked(place, "dev.jsonl", "--method", "temperature")) == 0
    out = capsys.readouterr().out
    assert "Calibration on dev" in out
    assert f"temperature {calibration(place, 'polite')['temperature']:.2f}" in out
    assert "→" in out
    assert "mean" in out
    assert run("adapters", str(place / "adapters"), "--json") == 0
    listed = json.loads(capsys.readouterr().out)
    assert [row["calibration"] for row in listed] == ["temperature", "temperature"]
    assert run("calibrate", *asked(place, "dev.jsonl", "--method", "none")) == 0
    assert "none" in capsys.readouterr().out
    assert manifest(place, "polite").calibration is None


def test_too_few_examples_leave_a_calibration_as_it_was(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("calibrate", *asked(place, "dev.jsonl", "--method", "temperature")) == 0
    before = manifest(place, "polite")
    write_calls(place / "few.jsonl", 4)
    capsys.readouterr()
    assert run("calibrate", *asked(place, "few.jsonl")) == 0
    assert "4 examples are too few" in " ".join(capsys.readouterr().out.split())
    assert manifest(place, "polite") == before


def test_rows_that_were_trained_on_are_refused(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = replace(manifest(place, "polite"), data_hash=data_hash(calls("dev", 40)))
    code = run("calibrate", *asked(place, "dev.jsonl", "--train", str(place / "dev.jsonl")))
    assert code == 2
    assert "'dev-0'" in capsys.readouterr().err
    write_manifest(place / "adapters" / "polite", told)
    assert run("calibrate", *asked(place)) == 2
    assert "was trained on these conversations" in capsys.readouterr().err
    assert manifest(place, "mood").calibration is None


def test_weights_that_are_not_those_of_the_manifest_are_refused(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = replace(manifest(place, "polite"), content_hash="sha256:" + "0" * 64)
    write_manifest(place / "adapters" / "polite", told)
    assert run("calibrate", *asked(place, "dev.jsonl", "--method", "temperature")) == 2
    assert "not that of the weights" in " ".join(capsys.readouterr().err.split())
    assert manifest(place, "mood").calibration is None


@pytest.mark.parametrize(
    ("adapter", "reason"), [("nothing", "No adapter 'nothing'"), ("polite", "answers two")]
)
def test_an_adapter_that_is_missing_or_shared_is_refused(
    place: Path, capsys: pytest.CaptureFixture[str], adapter: str, reason: str
) -> None:
    with (place / "indicators" / "mood.toml").open("a") as file:
        file.write(f'adapter = "{adapter}"\n')
    assert run("calibrate", *asked(place)) == 2
    assert reason in " ".join(capsys.readouterr().err.split())


def test_an_adapter_without_a_manifest_is_refused(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "adapters" / "polite" / "manifest.json").unlink()
    assert run("calibrate", *asked(place)) == 2
    assert "manifest.json" in capsys.readouterr().err


def test_an_adapter_named_by_its_path_is_calibrated_too(place: Path) -> None:
    [mood, polite] = load_indicators(place / "indicators")
    assert run("calibrate", *asked(place, "dev.jsonl", "--method", "temperature")) == 0
    there = Indicator(
        "polite", "?", polite.labels, polite.positive, "binary", str(place / "adapters" / "polite")
    )
    llm = LLM(place / "model", adapters=place / "adapters")
    [answer] = llm.score(calls("new", 1)[0].transcript, [there]).answers
    assert answer.raw_probabilities is not None
