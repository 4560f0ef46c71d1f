"""``descant gate`` and ``descant evaluate`` over HTTP: endpoints by address and by file, and after a kill."""

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

from descant.data import write_jsonl
from descant.release import spent_in
from descant.schema import Indicator, LabelledTranscript, indicator_toml
from tests.cli.test_app import run
from tests.distillation.teacher_server import TeacherServer, sends, teaching
from tests.release.endpoints import task_of
from tests.server.live import live, load, write_served

REPOSITORY = Path(__file__).parents[2]
WAIT_S = 60.0
POLICY = """
[task]
name = "calls"
data = "calls.jsonl"
indicators = "indicators"

[slices]
length_parts = 1
"""


@pytest.fixture
def server() -> Iterator[TeacherServer]:
    with teaching(TeacherServer()) as teacher:
        yield teacher


@pytest.fixture
def place(tmp_path: Path) -> Path:
    task = task_of(40)
    write_jsonl(tmp_path / "calls.jsonl", task.rows)
    (tmp_path / "indicators").mkdir()
    for indicator in task.indicators:
        (tmp_path / "indicators" / f"{indicator.name}.toml").write_text(indicator_toml(indicator))
    (tmp_path / "policy.toml").write_text(POLICY)
    return tmp_path


def gate(place: Path, candidate: str, champion: str, *more: str) -> list[str]:
    sides = ("--candidate", candidate, "--champion", champion)
    return ["gate", str(place / "policy.toml"), *sides, "--answers", str(place / "answers"), *more]


def endpoint(place: Path, name: str, text: str) -> str:
    path = place / f"{name}.toml"
    path.write_text(text)
    return str(path)


def test_three_endpoints_each_with_its_own_key_and_price(
    place: Path,
    server: TeacherServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("RIVAL_KEY", "s3cret")
    with teaching(TeacherServer(answer=lambda body: "no")) as rival:
        told = f'url = "{rival.address}"\nmodel = "big"\nkey_env = "RIVAL_KEY"\nprice_in = 100\n'
        asked = gate(place, f"{server.address}#new", f"{server.address}#old", "--rival")
        assert run(*asked, endpoint(place, "rival", told), "--json") in (0, 4)
        assert {seen.headers.get("authorization") for seen in rival.seen} == {"Bearer s3cret"}
    assert {seen.headers.get("authorization") for seen in server.seen} == {None}
    out, err = capsys.readouterr()
    figures = json.loads(out)["figures"]
    assert figures["rival"]["money_per_1000"] == pytest.approx(1000 * 2 * 20 * 100 / 1e6)
    assert figures["rival"]["endpoint"]["requests"] == 80
    assert figures["candidate"]["money_per_1000"] is None
    assert figures["candidate"]["conversation_s"] > 0
    assert "#new" in figures["candidate"]["identity"]
    assert "Asking: 80/80 requests" in err
    assert len(list((place / "answers").glob("*.answers.jsonl"))) == 3


def test_the_champion_is_asked_again_where_its_noise_is_wanted(
    place: Path, server: TeacherServer, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = gate(place, f"{server.address}#new", f"{server.address}#old", "--champion-twice")
    assert run(*asked, "--json") in (0, 4)
    models = [seen.body["model"] for seen in server.seen]
    assert (models.count("old"), models.count("new")) == (160, 80)
    names = [check["name"] for check in json.loads(capsys.readouterr().out)["decision"]["checks"]]
    assert "noise" in names


def test_one_key_does_not_go_to_two_servers(
    place: Path,
    server: TeacherServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("A_KEY", "s3cret")
    with teaching(TeacherServer()) as other:
        asked = gate(place, f"{server.address}#m", f"{other.address}#m", "--key-env", "A_KEY")
        assert run(*asked) == 2
        assert other.seen == []
    assert server.seen == []
    assert "a file of its own" in " ".join(capsys.readouterr().err.split())


def test_one_budget_is_not_for_two_endpoints(
    place: Path, server: TeacherServer, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = gate(place, f"{server.address}#new", f"{server.address}#old", "--budget-tokens", "9000")
    assert run(*asked) == 2
    assert server.seen == []
    assert "A budget is for one, and 2 are named" in " ".join(capsys.readouterr().err.split())


def test_a_second_run_of_the_champion_is_within_the_same_budget(
    place: Path, server: TeacherServer, capsys: pytest.CaptureFixture[str]
) -> None:
    most = 80 * 23 + 1500
    asked = gate(place, str(place / "calls.jsonl"), f"{server.address}#m", "--champion-twice")
    assert run(*asked, "--budget-tokens", str(most), "--json") == 1
    capsys.readouterr()
    spent = [spent_in(path).tokens for path in (place / "answers").glob("*.answers.jsonl")]
    assert len(spent) == 2
    assert max(spent) == 80 * 23
    assert sum(spent) <= most


def test_a_budget_that_ends_decides_nothing_and_a_larger_one_goes_on(
    place: Path, server: TeacherServer, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded = str(place / "calls.jsonl")
    asked = gate(place, f"{server.address}#m", recorded, "--concurrency", "1", "--budget-tokens")
    assert run(*asked, "1300", "--json") == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "go on with a larger budget" in " ".join(err.split())
    before = len(server.seen)
    assert 0 < before < 80
    assert run(*asked, "1000000", "--json") in (0, 4)
    assert len(server.seen) == 80


def test_a_killed_gate_goes_on_where_it_was(place: Path, server: TeacherServer) -> None:
    server.act = server.slowly(0.02)
    asked = gate(place, f"{server.address}#m", str(place / "calls.jsonl"), "--concurrency", "2")
    command = [sys.executable, "-m", "descant", *asked, "--json"]
    env = os.environ | {"PYTHONPATH": str(REPOSITORY / "src")}
    first = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline_s = time.monotonic() + WAIT_S
    while len(server.seen) < 10:
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    first.send_signal(signal.SIGKILL)
    first.wait(WAIT_S)
    assert run(*asked, "--json") in (0, 4)
    # What was under way when it was killed is asked once more, and nothing else.
    assert 80 <= len(server.seen) <= 82


def test_evaluate_judges_a_server_beside_the_python_api(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    llm = load(write_served(place / "served"))
    trained = place / "served" / "indicators"
    judged = ["evaluate", str(place / "calls.jsonl"), "--indicators", str(trained)]
    local = ["--adapters", str(place / "served" / "adapters")]
    assert run(*judged, *local, "--model", str(place / "served" / "model"), "--json") == 0
    here = json.loads(capsys.readouterr().out)
    with live(llm) as (url, _):
        over = ["--endpoint", f"{url}/v1", "--answers", str(place / "answers"), "--json"]
        assert run(*judged, *over) == 0
        there: Any = json.loads(capsys.readouterr().out)
        assert run(*judged, *over[:-1]) == 0
        assert "40 answers took" in capsys.readouterr().out
    assert there["endpoint"]["requests"] == 40
    assert here["endpoint"] is None
    assert there["mean_macro_f1"] == here["mean_macro_f1"]


def test_what_is_no_endpoint_is_said(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    judged = ["evaluate", str(place / "calls.jsonl"), "--indicators", str(place / "indicators")]
    assert run(*judged, "--endpoint", "somewhere") == 2
    assert "neither an address" in " ".join(capsys.readouterr().err.split())


def test_who_is_away_for_good_ends_the_gate(
    place: Path, server: TeacherServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.act = sends(404, '{"error": {"message": "no such model"}}')
    assert run(*gate(place, f"{server.address}#m", str(place / "calls.jsonl"))) == 2
    assert "status 404: no such model" in " ".join(capsys.readouterr().err.split())


def test_texts_are_compared_by_embeddings_where_a_model_is_named(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    llm = load(write_served(place / "served"))
    (place / "texts").mkdir()
    reason = Indicator("reason", "Why?", (), (), "text", "reason", max_tokens=8)
    (place / "texts" / "reason.toml").write_text(indicator_toml(reason))
    rows = [LabelledTranscript(row.transcript, {"reason": "a refund"}) for row in task_of(4).rows]
    write_jsonl(place / "texts.jsonl", rows)
    judged = ["evaluate", str(place / "texts.jsonl"), "--indicators", str(place / "texts")]
    where = ["--answers", str(place / "answers"), "--json"]
    with live(llm) as (url, _), teaching(TeacherServer(answer=lambda body: "a refund")) as chat:
        sides = ["--endpoint", f"{chat.address}#m", "--embedder", f"{url}/v1#{llm.model_name}"]
        assert run(*judged, *sides, *where) == 0
    [told] = json.loads(capsys.readouterr().out)["texts"]
    assert told["similarity"]["mean"]["value"] == pytest.approx(1.0)
    assert told["similarity"]["scored"] == 4
