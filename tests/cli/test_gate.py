"""``descant gate``: recordings, a bag of words and adapters against each other; exit codes; the page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from descant.data import write_jsonl
from descant.schema import LabelledTranscript
from tests.cli.test_app import run
from tests.cli.tiny_folder import write_calls, write_indicators, write_model, write_recipe
from tests.release.task import contestant, made_task, write_task

POLICY = """
[task]
name = "made up"
data = "data.jsonl"
indicators = "indicators"

[slices]
fields = ["agent"]

[prices]
machine_per_hour = 3.6
rival_per_1000 = 4.0
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("gate")
    task = made_task()
    write_task(place, task)
    (place / "policy.toml").write_text(POLICY)
    for name, share in (("good", 0.95), ("fair", 0.8), ("poor", 0.5)):
        answers = contestant(task, name, share, 1).predictions
        labels = {(o.transcript_id, o.indicator): o.answer.label for o in answers.outcomes}
        write_jsonl(
            place / f"{name}.jsonl",
            [
                LabelledTranscript(
                    row.transcript, {i: labels[row.transcript.id, i] for i in row.labels}
                )
                for row in task.rows
            ],
        )
    return place


def gate(folder: Path, candidate: str, champion: str, *more: str) -> int:
    sides = ("--candidate", str(folder / candidate), "--champion", str(folder / champion))
    return run("gate", str(folder / "policy.toml"), *sides, *more)


def test_a_release_is_exit_code_0_with_a_page_and_its_twin(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = folder / "release.html"
    more = ("--rival", str(folder / "poor.jsonl"), "--champion-twice", "--page", str(page))
    assert gate(folder, "good.jsonl", "fair.jsonl", *more, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["verdict"] == "promote"
    assert told["figures"]["rival"]["money_per_1000"] == 4.0
    assert json.loads(page.with_suffix(".json").read_text()) == told
    assert "Promote" in page.read_text()


def test_a_refused_release_is_exit_code_4_with_the_reason(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gate(folder, "poor.jsonl", "good.jsonl") == 4
    said = capsys.readouterr()
    assert "reject" in " ".join(said.err.split())
    assert "the candidate is worse" in " ".join(said.out.split())


def test_a_policy_with_mistakes_names_them_by_line(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "wrong.toml"
    path.write_text(
        POLICY.replace("data.jsonl", "date.jsonl") + "[release]\nmargin = 2\nwide = 1\n"
    )
    sides = ("--candidate", str(folder / "good.jsonl"), "--champion", str(folder / "fair.jsonl"))
    assert run("gate", str(path), *sides) == 2
    said = " ".join(capsys.readouterr().err.split())
    for told in ("date.jsonl does not exist", "margin must lie between", "wide"):
        assert told in said


def test_adapters_are_judged_beside_a_bag_of_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_model(tmp_path / "model")
    write_indicators(tmp_path / "indicators")
    write_calls(tmp_path / "train.jsonl", 16)
    write_calls(tmp_path / "data.jsonl", 40)
    recipe = write_recipe(tmp_path / "recipe.toml", "rank = 2\nepochs = 1\nmin_steps = 1\n")
    assert run("train", str(recipe)) == 0
    (tmp_path / "policy.toml").write_text(POLICY)
    sides = ("--candidate", str(tmp_path / "adapters"), "--champion", "bag-of-words")
    where = ("--model", str(tmp_path / "model"), "--train", str(tmp_path / "train.jsonl"))
    capsys.readouterr()
    assert run("gate", str(tmp_path / "policy.toml"), *sides, *where, "--json") in (0, 4)
    told = json.loads(capsys.readouterr().out)
    assert told["figures"]["candidate"]["conversation_s"] > 0
    assert told["figures"]["candidate"]["money_per_1000"] > 0
    assert (
        run("gate", str(tmp_path / "policy.toml"), *sides, "--model", str(tmp_path / "model")) == 2
    )
    assert "--train" in capsys.readouterr().err
