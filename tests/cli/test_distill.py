"""A teacher asked from the command line: labels, report, budget, and what is left after a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from descant.cli.loading import load_base
from descant.cli.terminal import Terminal
from descant.cli.train import train_adapters
from descant.data import read_jsonl, write_jsonl
from descant.distillation import AnswerStore
from descant.schema import LabelledTranscript, load_indicators
from descant.training import Hyperparameters
from tests.cli.test_app import run
from tests.cli.tiny_folder import calls, write_indicators, write_model
from tests.distillation.calls import transcripts
from tests.distillation.teacher_server import TeacherServer, says, teaching
from tests.server.live import live, load, write_served

REPOSITORY = Path(__file__).parents[2]
WAIT_S = 60.0


@pytest.fixture
def server() -> Iterator[TeacherServer]:
    with teaching(TeacherServer()) as teacher:
        yield teacher


@pytest.fixture
def place(tmp_path: Path) -> Path:
    write_indicators(tmp_path / "indicators")
    labels = [row.labels for row in calls("any", 8)]
    pairs = zip(transcripts(8), labels, strict=True)
    write_jsonl(tmp_path / "calls.jsonl", [LabelledTranscript(*pair) for pair in pairs])
    return tmp_path


def arguments(place: Path, address: str, *more: str) -> list[str]:
    return [
        *("distill", str(place / "calls.jsonl"), "--indicators", str(place / "indicators")),
        *("--teacher", address, "--model", "big", "--output", str(place / "labelled.jsonl")),
        *more,
    ]


def labels_in(place: Path) -> list[Any]:
    return [dict(row.labels) for row in read_jsonl(place / "labelled.jsonl")]


GIVEN = [{"polite": "yes", "mood": "good"}, {"polite": "no", "mood": "bad"}] * 4
"""What the teacher says; by the file, moods are others."""


def test_a_teacher_labels_a_file(
    place: Path, server: TeacherServer, capsys: pytest.CaptureFixture[str]
) -> None:
    prices = ["--price-in", "0.5", "--price-out", "2"]
    assert run(*arguments(place, server.address, *prices, "--json")) == 0
    out, err = capsys.readouterr()
    result = json.loads(out)
    assert result["labelled"] == 16
    assert (result["unanswered"], result["missing"], result["stopped"]) == (0, 0, None)
    money = 16 * (20 * 0.5 + 3 * 2) / 1e6
    assert result["spent"] == {
        "tokens_read": 320,
        "tokens_written": 48,
        "money": pytest.approx(money),
    }
    assert labels_in(place) == GIVEN
    assert "Asking: 16/16 requests" in err
    assert "320 tokens read, 48 written, 0.0003 spent" in err
    assert "labelled.answers.jsonl" in err


def test_the_teacher_is_judged_by_the_labels_of_the_file(
    place: Path, server: TeacherServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments(place, server.address)) == 0
    out = capsys.readouterr().out
    assert "16 labels for 8 conversations, 0 unanswered, 0 not asked" in out
    assert "labels of the file" in out
    assert "1.00 [0." in out
    assert run(*arguments(place, server.address, "--json")) == 0
    report = json.loads(capsys.readouterr().out)
    mood, polite = report["on_gold"]["indicators"]
    assert polite["ours"]["accuracy"]["value"] == 1.0
    assert mood["ours"]["accuracy"]["value"] < 0.5
    assert report["on_teacher"] is report["student"] is None
    assert len(server.seen) == 16


def test_what_was_not_answered_is_said_with_its_reason(
    place: Path, server: TeacherServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.then(says("perhaps"))
    assert run(*arguments(place, server.address, "--concurrency", "1")) == 0
    out = capsys.readouterr().out
    assert "15 labels for 8 conversations, 1 unanswered, 0 not asked" in out
    assert "1 unanswered: The answer 'perhaps' is not one of the labels." in out
    assert labels_in(place)[0] == {"mood": None, "polite": "yes"}


def test_votes_become_weights(place: Path, server: TeacherServer) -> None:
    server.answer = lambda body: "no" if body["seed"] == 1 else "yes"
    (place / "indicators" / "mood.toml").unlink()
    assert run(*arguments(place, server.address, "--votes", "3")) == 0
    rows = list(read_jsonl(place / "labelled.jsonl"))
    assert [row.labels["polite"] for row in rows] == ["yes"] * 8
    assert [row.weights for row in rows] == [{"polite": pytest.approx(2 / 3)}] * 8
    assert {seen.body["temperature"] for seen in server.seen} == {1.0}
    # Labels of indicators that were not asked about are those of the file.
    assert [row.labels["mood"] for row in rows] == [None, "bad", "fair", "good"] * 2


def test_a_spent_budget_writes_what_there_is_and_goes_on_later(
    place: Path, server: TeacherServer, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = arguments(place, server.address, "--concurrency", "1", "--budget-tokens", "1200")
    assert run(*asked, "--json") == 1
    out, err = capsys.readouterr()
    result = json.loads(out)
    assert result["stopped"] == "budget_spent"
    assert result["labelled"] == len(server.seen) > 0
    assert result["missing"] == 16 - len(server.seen)
    assert result["spent"]["tokens_read"] + result["spent"]["tokens_written"] <= 1200
    assert "go on with a larger budget" in " ".join(err.split())
    assert sum(len(labels) for labels in labels_in(place)) == result["labelled"]
    assert run(*arguments(place, server.address)) == 0
    assert len(server.seen) == 16
    assert labels_in(place) == GIVEN


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--budget-money", "1"], "needs the price of tokens"),
        (["--votes", "2", "--soft"], "not from votes"),
        (["--votes", "2", "--via", "scores"], "same answer each time"),
        (["--votes", "2", "--temperature", "0"], "all votes are the same"),
        (["--teacher", "localhost"], "must begin with http"),
        (["--answers", "calls.jsonl"], "line 1: is no line of a teacher's answers"),
        (["--output", "calls.jsonl"], "would lose the labels it has"),
    ],
)
def test_mistakes_are_said_before_anything_is_asked(
    place: Path,
    server: TeacherServer,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    more: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(place)
    before = (place / "calls.jsonl").read_bytes()
    assert run(*arguments(place, server.address, *more)) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert not server.seen
    assert (place / "calls.jsonl").read_bytes() == before


def test_the_key_comes_from_the_environment(
    place: Path,
    server: TeacherServer,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DESCANT_TEACHER_KEY", "sk-secret")
    assert run(*arguments(place, server.address)) == 0
    assert {seen.headers["authorization"] for seen in server.seen} == {"Bearer sk-secret"}
    assert "sk-secret" not in "".join(capsys.readouterr())
    kept = [
        path for path in place.rglob("*") if path.is_file() and b"sk-secret" in path.read_bytes()
    ]
    assert not kept


def test_a_student_learns_from_another_descant_and_is_judged_beside_it(
    place: Path, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    llm = load(write_served(tmp_path_factory.mktemp("teacher")))
    with live(llm) as (url, _):
        asked = arguments(place, f"{url}/v1", "--via", "scores", "--soft", "--json")
        assert run(*asked) == 0
        rows = list(read_jsonl(place / "labelled.jsonl"))
        assert all(set(row.probabilities) == {"mood", "polite"} for row in rows)
        write_model(place / "model")
        settings = Hyperparameters(
            rank=4, epochs=2, min_steps=1, learning_rate=0.01, distillation_temperature=2.0
        )
        terminal = Terminal()
        base, asked_of = load_base(terminal, str(place / "model")), place / "indicators"
        # Not by a recipe: an untrained teacher may always find the same label the likeliest.
        train_adapters(
            terminal, base, rows, load_indicators(asked_of), settings, place / "adapters"
        )
        capsys.readouterr()
        student = ["--student", str(place / "adapters"), "--student-model", str(place / "model")]
        assert run(*asked, *student) == 0
        report = json.loads(capsys.readouterr().out)
        assert report["student_over_teacher"]["conversations"] == 8
        assert report["student"]["conversations"] == 8
        assert report["student"]["tokens_read"] > 0
        on_gold = {row["indicator"]: row for row in report["on_gold"]["indicators"]}
        # Two conversations have no mood by the file; the teacher gave one to each.
        assert on_gold["mood"]["ours"]["support"] == 6
        assert on_gold["mood"]["baselines"]["teacher"]["support"] == 6
        on_teacher = {row["indicator"]: row["ours"] for row in report["on_teacher"]["indicators"]}
        assert on_teacher["mood"]["support"] == 8
        assert run(*asked[:-1], *student) == 0
    out = capsys.readouterr().out
    for part in ("labels of the file", "labels of the teacher", "of the teacher's mean", "Cost"):
        assert part in " ".join(out.split())


# Processes


def start(place: Path, address: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "descant", *arguments(place, address, "--concurrency", "2")]
    paths = os.pathsep.join([str(REPOSITORY / "src"), str(REPOSITORY)])
    return subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
        # Whoever runs the tests in the background has them ignore what Ctrl-C sends.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def wait_until_asked(server: TeacherServer, count: int) -> None:
    end = time.monotonic() + WAIT_S
    while len(server.seen) < count:
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_after_a_kill_nothing_is_asked_twice_but_what_was_under_way(
    place: Path, server: TeacherServer, how: signal.Signals
) -> None:
    # So slowly that it cannot end before the signal comes.
    server.act = server.slowly(0.5)
    process = start(place, server.address)
    try:
        wait_until_asked(server, 3)
        process.send_signal(how)
    except AssertionError:
        process.kill()
        raise
    finally:
        _, said = process.communicate(timeout=WAIT_S)
    if how is signal.SIGINT:
        assert process.returncode == 130
        assert "the same command goes on there" in " ".join(said.split())
    asked_before = len(server.seen)
    assert asked_before < 16
    server.act = None
    assert run(*arguments(place, server.address)) == 0
    assert labels_in(place) == GIVEN
    times = server.times_asked()
    assert len(times) == 16
    assert times.total() - 16 <= 2
    # What was under way when it ended may have cost the most, and is not forgotten.
    with AnswerStore(place / "labelled.answers.jsonl") as store:
        assert store.spent.written_tokens >= 16 * 3 + (times.total() - 16) * 64
