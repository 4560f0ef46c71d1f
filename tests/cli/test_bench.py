from __future__ import annotations

import json
from typing import Any

import pytest

from descant.cli import bench_fanout, bench_train
from tests.cli.test_app import run


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
