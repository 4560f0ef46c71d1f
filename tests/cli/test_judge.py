"""``descant judge`` and a gate over texts: measured, admitted, asked, and refused where it was not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from descant.data import write_jsonl
from descant.release import LabelledPair
from descant.schema import Indicator, LabelledTranscript, indicator_toml
from tests.cli.test_app import run
from tests.distillation.calls import transcript
from tests.distillation.teacher_server import TeacherServer, teaching
from tests.release.judging import BAD, GOOD, OTHER, labelled, likes_refunds

REASON = Indicator("reason", "Why did they call?", (), (), "text", "reason", max_tokens=8)
POLICY = """
[task]
name = "calls"
data = "calls.jsonl"
indicators = "indicators"

[slices]
length_parts = 1

[judge]
endpoint = "judge.toml"
labels = "pairs.jsonl"
measurements = "judges"
"""


@pytest.fixture
def server() -> Iterator[TeacherServer]:
    with teaching(TeacherServer(answer=likes_refunds)) as teacher:
        yield teacher


@pytest.fixture
def place(tmp_path: Path, server: TeacherServer) -> Path:
    (tmp_path / "indicators").mkdir()
    (tmp_path / "indicators" / "reason.toml").write_text(indicator_toml(REASON))
    (tmp_path / "policy.toml").write_text(POLICY)
    (tmp_path / "judge.toml").write_text(f'url = "{server.address}"\nmodel = "judge"\n')
    for name, text in (("calls", "a refund"), ("good", GOOD), ("bad", BAD), ("other", OTHER)):
        rows = [LabelledTranscript(transcript(at), {"reason": text}) for at in range(60)]
        write_jsonl(tmp_path / f"{name}.jsonl", rows)
    (tmp_path / "pairs.jsonl").write_text("".join(map(line_of, labelled(90))))
    return tmp_path


def line_of(each: LabelledPair) -> str:
    pair = each.pair
    turns = [{"speaker": turn.speaker, "text": turn.text} for turn in pair.transcript.turns]
    texts = {key: getattr(pair, key) for key in ("question", "expected", "first", "second")}
    return (
        json.dumps({"id": pair.transcript.id, "turns": turns, **texts, "label": each.label}) + "\n"
    )


def measure(place: Path, *more: str) -> int:
    where = ("--measurements", str(place / "judges"), "--answers", str(place / "answers"))
    judge = ("--endpoint", str(place / "judge.toml"))
    return run("judge", str(place / "pairs.jsonl"), *judge, *where, *more)


def gate(
    place: Path, candidate: str, champion: str, capsys: pytest.CaptureFixture[str]
) -> tuple[int, dict[str, Any]]:
    sides = ("--candidate", str(place / candidate), "--champion", str(place / champion))
    more = ("--answers", str(place / "answers"), "--json")
    capsys.readouterr()
    code = run("gate", str(place / "policy.toml"), *sides, *more)
    return code, json.loads(capsys.readouterr().out)


def test_a_measured_judge_decides_about_texts(
    place: Path, server: TeacherServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert measure(place, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["agreement"]["agreed"] == 1.0
    assert Path(told["path"]).stem == told["content_hash"]
    assert len(server.seen) == 180
    code, found = gate(place, "good.jsonl", "bad.jsonl", capsys)
    assert (code, found["verdict"]) == (0, "promote")
    assert found["judge"]["by_indicator"]["reason"]["wins"] == 60
    code, found = gate(place, "bad.jsonl", "good.jsonl", capsys)
    assert (code, found["verdict"]) == (4, "reject")
    code, found = gate(place, "bad.jsonl", "other.jsonl", capsys)
    assert found["judge"]["by_indicator"]["reason"]["ties"] == 60
    # Both orders of a pair are asked once, whoever is the candidate, and 40 and 20 when measuring.
    assert len(server.seen) == 180 + 2 * 20 + 2 * 40


def test_a_judge_that_was_not_measured_is_not_asked_and_releases_nothing(
    place: Path, server: TeacherServer, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = gate(place, "good.jsonl", "bad.jsonl", capsys)
    assert (code, found["verdict"]) == (4, "hold")
    assert "was not measured" in found["judge"]["refusal"]
    assert server.seen == []


def test_a_judge_that_goes_by_the_place_is_measured_and_refused(
    place: Path, server: TeacherServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answer = lambda body: "first"
    assert measure(place) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "90 pairs: the judge agrees with people on 33%" in said
    assert "90 verdicts depend on the order" in said
    code, found = gate(place, "good.jsonl", "bad.jsonl", capsys)
    assert (code, found["verdict"]) == (4, "hold")
    assert len(server.seen) == 180
