"""All commands on one tiny model: trained, listed, judged and asked, as someone would type it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import torch

from descant.llm import LLM
from descant.schema import load_indicators
from descant.server import create_app
from tests.cli.test_app import run
from tests.cli.tiny_folder import write_calls, write_indicators, write_model, write_recipe

SETTINGS = "rank = 4\nalpha = 8.0\nepochs = 2\nmin_steps = 1\nbatch_conversations = 4\nlearning_rate = 0.01\n"


class Workplace(NamedTuple):
    """Where the files of one flow are."""

    folder: Path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    folder = tmp_path_factory.mktemp("flow")
    write_model(folder / "model")
    write_indicators(folder / "indicators")
    write_calls(folder / "train.jsonl", 16)
    write_calls(folder / "test.jsonl", 8)
    write_recipe(folder / "recipe.toml", SETTINGS)
    assert run("train", str(folder / "recipe.toml")) == 0
    return Workplace(folder)


def train(folder: Path, output: str, *more: str) -> int:
    return run("train", str(folder / "recipe.toml"), "--output", str(folder / output), *more)


def path(place: Workplace, name: str) -> str:
    return str(place.folder / name)


def asked(place: Workplace) -> list[str]:
    return ["--adapters", path(place, "adapters"), "--model", path(place, "model")]


def lines_of(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


def test_training_says_what_it_made(place: Workplace, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(place.folder, "again", "--json") == 0
    out, err = capsys.readouterr()
    result = json.loads(out)
    assert [adapter["name"] for adapter in result["adapters"]] == ["mood", "polite"]
    assert result["conversations"] == 16
    assert "Training 2 adapters on 16 conversations" in err
    assert "Training: 8/8 steps" in err


def test_the_same_seed_gives_the_same_adapters(
    place: Workplace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("adapters", path(place, "adapters"), "--json") == 0
    first = json.loads(capsys.readouterr().out)
    assert train(place.folder, "twin", "--json") == 0
    second = json.loads(capsys.readouterr().out)["adapters"]
    assert [a["content_hash"] for a in first] == [a["content_hash"] for a in second]
    assert [a["rank"] for a in first] == [4, 4]


def test_scorecards_come_one_a_line(place: Workplace, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("score", path(place, "test.jsonl"), *asked(place), "--json") == 0
    cards = lines_of(capsys.readouterr().out)
    assert [card["transcript_id"] for card in cards] == [f"test-{at}" for at in range(8)]
    for answer in cards[0]["answers"]:
        assert answer["unanswered"] is None
        assert sum(answer["probabilities"].values()) == pytest.approx(1.0, abs=1e-3)


def test_scorecards_come_from_a_quantized_model_too(
    place: Workplace, capsys: pytest.CaptureFixture[str]
) -> None:
    formats = ["--quantization", "int8", "--kv-dtype", "int8"]
    assert run("score", path(place, "test.jsonl"), *asked(place), *formats, "--json") == 0
    cards = lines_of(capsys.readouterr().out)
    assert [answer["unanswered"] for card in cards for answer in card["answers"]] == [None] * 16


def test_scorecards_for_people_and_indicators_without_an_adapter(
    place: Workplace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "upsell.toml").write_text('name="upsell"\nquestion="?"\nlabels=["no", "yes"]\n')
    one = write_calls(tmp_path / "one.jsonl", 1)
    assert run("score", str(one), *asked(place), "--indicators", str(tmp_path)) == 0
    out = capsys.readouterr().out
    assert "Scorecard of one-0" in out
    assert "unanswered" in out


def test_judging_gives_figures_beside_the_baseline(
    place: Workplace, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [path(place, "test.jsonl"), "--indicators", path(place, "indicators")]
    more = [*asked(place), "--train", path(place, "train.jsonl")]
    assert run("evaluate", *arguments, *more, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["mean_macro_f1"].keys() == {"ours", "bag-of-words"}
    assert [row["indicator"] for row in report["indicators"]] == ["mood", "polite"]
    assert all(row["ours"]["unanswered"] == 0 for row in report["indicators"])
    assert run("evaluate", *arguments, *asked(place)) == 0
    out = capsys.readouterr().out
    assert "macro-F1" in out
    assert "bag-of-words" not in out


def test_judging_on_what_was_learned_is_refused(
    place: Workplace, capsys: pytest.CaptureFixture[str]
) -> None:
    data = path(place, "train.jsonl")
    code = run(
        "evaluate", data, "--indicators", path(place, "indicators"), *asked(place), "--train", data
    )
    assert code == 2
    assert "'train-0'" in capsys.readouterr().err


def test_an_interrupted_training_goes_on_where_it_was(
    place: Workplace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from descant.training import OnePassTrainer

    original, steps = OnePassTrainer.train_step, 0

    def interrupted(self: OnePassTrainer, indices: list[int]) -> torch.Tensor:
        nonlocal steps
        steps += 1
        if steps == 4:
            raise KeyboardInterrupt
        return original(self, indices)

    monkeypatch.setattr(OnePassTrainer, "train_step", interrupted)
    assert train(place.folder, "stopped") == 130
    monkeypatch.undo()
    capsys.readouterr()
    assert train(place.folder, "stopped", "--resume", "--json") == 0
    resumed = json.loads(capsys.readouterr().out)["adapters"]
    assert run("adapters", path(place, "adapters"), "--json") == 0
    whole = json.loads(capsys.readouterr().out)
    assert [a["content_hash"] for a in resumed] == [a["content_hash"] for a in whole]


def test_the_server_gives_the_answers_of_the_command(
    place: Workplace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("score", path(place, "test.jsonl"), *asked(place), "--json") == 0
    card = lines_of(capsys.readouterr().out)[0]
    rows = lines_of(Path(path(place, "test.jsonl")).read_text())
    conversation = {"id": rows[0]["id"], "turns": rows[0]["turns"]}
    llm = LLM(path(place, "model"), adapters=path(place, "adapters"))
    app = create_app(llm, load_indicators(place.folder / "indicators"))

    async def ask() -> httpx.Response:
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client,
        ):
            return await client.post("/v1/scores", json={"conversation": conversation})

    response = asyncio.run(ask())
    assert response.status_code == 200
    for ours, theirs in zip(response.json()["answers"], card["answers"], strict=True):
        assert ours["label"] is not None
        assert ours["label"] == theirs["label"]
        assert ours["adapter"] == theirs["adapter"]
        assert ours["probabilities"] == pytest.approx(theirs["probabilities"], abs=0.02)
