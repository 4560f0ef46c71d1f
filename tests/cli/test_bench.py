from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from descant.cli import bench_fanout, bench_train
from descant.cli.bench_perplexity import sample_text
from tests.cli.test_app import run
from tests.cli.tiny_folder import write_model


class Figures:
    def to_json(self) -> dict[str, Any]:
        return {"adapters": 3, "gain": 1234.5678}


@pytest.mark.parametrize(
    ("module", "function", "arguments", "expected"),
    [
        (bench_fanout, "measure_fanout", ["fanout", "--tokens", "50"], ["tiny", 3, 50]),
        (bench_train, "measure_training", ["train", "--conversations", "5"], ["tiny", 3, 5]),
    ],
)
def test_figures_are_printed_as_a_table_or_as_one_object(
    module: Any,
    function: str,
    arguments: list[str],
    expected: list[object],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    calls: list[tuple[object, ...]] = []

    def measure(*given: Any) -> Figures:
        calls.append(given)
        given[-1]("warming up")
        return Figures()

    monkeypatch.setattr(module, function, measure)
    options = ["--adapters", "3", "--model", "tiny"]
    assert run("bench", *arguments, *options, "--json") == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == Figures().to_json()
    assert "warming up" in err
    assert list(calls[0][:3]) == expected
    assert run("bench", *arguments, *options) == 0
    assert "1,234.568" in capsys.readouterr().out


def test_a_fanout_is_measured_with_the_quantization_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--adapters", "2", "--tokens", "16", "--rank", "2", "--runs", "1"]
    model = str(write_model(tmp_path))
    assert (
        run("bench", "fanout", *options, "--model", model, "--quantization", "w8a8", "--json") == 0
    )
    assert json.loads(capsys.readouterr().out)["quantization"] == "w8a8"


def test_perplexity_stands_beside_that_of_bfloat16(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("hello there, yes or no? " * 20)
    options = ["perplexity", "--text", str(text), "--model", str(write_model(tmp_path))]
    formats = ["--quantization", "w8a8", "--kv-dtype", "int8"]
    assert run("bench", *options, *formats, "--json") == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["tokens"] > 100
    assert figures["ratio"] == figures["perplexity"] / figures["baseline_perplexity"]
    assert figures["ratio"] == pytest.approx(1, abs=0.2)
    assert figures["ratio"] != 1
    assert run("bench", *options, "--json") == 0
    plain = json.loads(capsys.readouterr().out)
    # Repacked weights may add in another order.
    assert plain["ratio"] == pytest.approx(1, abs=0.01)
    assert plain["baseline_perplexity"] == figures["baseline_perplexity"]


def test_a_text_too_short_or_not_there_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(write_model(tmp_path))
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\xff")
    for name in ("empty.txt", "bytes.txt", "missing.txt"):
        assert run("bench", "perplexity", "--text", str(tmp_path / name), "--model", model) == 2
    assert capsys.readouterr().err.count("Error: ") == 3
    assert run("bench", "perplexity", "--quantization", "int4") == 2


def test_the_sample_text_is_the_written_calls() -> None:
    assert len(sample_text()) > 10_000
    assert "\n\n" in sample_text()
