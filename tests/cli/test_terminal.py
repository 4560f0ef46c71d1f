from __future__ import annotations

import json

import pytest

from descant.cli.terminal import Terminal
from descant.schema.errors import InvalidConfig


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_results_and_remarks_go_to_different_places(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    terminal = Terminal(clock)
    clock.now = 12.34
    terminal.print("[a] result")
    terminal.print_json({"é": [1]})
    terminal.note("[b] remark")
    out, err = capsys.readouterr()
    assert out == '[a] result\n{"é": [1]}\n'
    assert err == "[  12.3 s] [b] remark\n"


def test_no_colour_leaves_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal()
    terminal.error(InvalidConfig("Broken.", remedy="Mend it."))
    terminal.note("remark")
    assert "\x1b" not in capsys.readouterr().err


def test_progress_without_terminal_is_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str],
) -> None:
    clock = Clock()
    with Terminal(clock).progress("Reading", "calls") as advance:
        for done in range(1, 21):
            clock.now += 1.0
            advance(done, 20, "loss 0.5")
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "Reading: 5/20 calls, 1.0/s, 0:15 left  loss 0.5",
        "Reading: 10/20 calls, 1.0/s, 0:10 left  loss 0.5",
        "Reading: 15/20 calls, 1.0/s, 0:05 left  loss 0.5",
        "Reading: 20/20 calls, 1.0/s  loss 0.5",
    ]


def test_the_rate_of_a_resumed_run_counts_from_where_it_resumed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    clock = Clock()
    with Terminal(clock).progress("Training", "steps") as advance:
        for done in range(91, 101):
            clock.now += 1.0
            advance(done, 100)
    assert capsys.readouterr().err.splitlines()[0] == "Training: 95/100 steps, 1.0/s, 0:05 left"


def test_slow_work_is_told_by_the_piece(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with Terminal(clock).progress("Training", "steps") as advance:
        clock.now += 20.0
        advance(1, 5)
    assert capsys.readouterr().err == "Training: 1/5 steps, 20.0 s each, 1:20 left\n"


def test_progress_on_a_terminal_is_a_bar_that_goes_away(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    with Terminal().progress("Reading", "calls") as advance:
        advance(1, 2, "half")
        advance(2, 2)
    out, err = capsys.readouterr()
    assert out == ""
    assert "Reading" in err
    assert "2/2" in err


def test_json_of_any_text_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal().print_json({"text": "a\nb\u2028" + "x" * 300})
    assert len(capsys.readouterr().out.splitlines(keepends=False)) >= 1
    Terminal().print_json({"text": "a\nb" + "x" * 300})
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["text"].startswith("a\nb")
