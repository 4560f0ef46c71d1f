"""Indicators whose answer is a short text: from an indicator file over training to a scorecard."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from descant.data import write_jsonl
from descant.engine import EngineConfig
from descant.llm import LLM
from descant.schema import (
    Indicator,
    LabelledTranscript,
    Transcript,
    Turn,
    indicator_toml,
    load_indicators,
    parse_indicator,
)
from descant.schema.errors import InvalidIndicator
from tests.cli.test_app import run
from tests.cli.tiny_folder import write_indicators, write_model, write_recipe
from tests.server.served import Server

REASONS = {"card": "lost card", "rate": "rate too high"}
TEXT = {"name": "reason", "question": "Why?", "kind": "text"}


def call(at: int) -> LabelledTranscript:
    word = list(REASONS)[at % 2]
    transcript = Transcript(f"call-{at}", (Turn("customer", f"{word} {word} {word}"),))
    return LabelledTranscript(
        transcript, {"reason": REASONS[word], "polite": ("no", "yes")[at % 2]}
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("texts")
    write_model(place / "model")
    write_indicators(place / "indicators")
    (place / "indicators/mood.toml").unlink()
    (place / "indicators/reason.toml").write_text(
        'name = "reason"\nquestion = "Why?"\nkind = "text"\nmax_tokens = 20\n'
    )
    write_jsonl(place / "train.jsonl", [call(at) for at in range(8)])
    settings = "rank = 8\nalpha = 64\nlearning_rate = 1e-2\nepochs = 60\nmin_steps = 1\n"
    assert run("train", str(write_recipe(place / "recipe.toml", settings))) == 0
    return place


@pytest.fixture(scope="module")
def llm(folder: Path) -> LLM:
    engine = EngineConfig(kv_cache_bytes=1 << 23)
    return LLM(folder / "model", adapters=folder / "adapters", dtype=torch.float32, engine=engine)


def test_a_text_is_learned_and_written_beside_labels_from_one_reading(llm: LLM) -> None:
    for at in range(2):
        row = call(at)
        card = llm.score(row.transcript)
        told = {answer.indicator: answer for answer in card.answers}
        assert told["reason"].label == row.labels["reason"]
        assert told["reason"].probabilities == {}
        assert told["reason"].confidence is None
        assert told["polite"].label == row.labels["polite"]
        assert card.usage.tokens_shared > 0


def test_texts_alone_and_in_a_batch_are_the_same(llm: LLM) -> None:
    rows = [call(at) for at in range(2)]
    batch = list(llm.score_many([row.transcript for row in rows], ["reason"]))
    assert [card.answers[0].label for card in batch] == [row.labels["reason"] for row in rows]


def test_a_text_without_an_end_is_no_answer(llm: LLM, folder: Path) -> None:
    [reason] = [each for each in load_indicators(folder / "indicators") if each.is_text]
    card = llm.score(call(0).transcript, [replace(reason, max_tokens=2)])
    [answer] = card.answers
    assert answer.label is None
    assert answer.unanswered == "It did not end within 2 tokens."
    assert answer.adapter is not None


def test_a_server_writes_the_same(llm: LLM, folder: Path) -> None:
    server = Server(llm, load_indicators(folder / "indicators"))
    turns = [{"speaker": "customer", "text": "card card card"}]
    told = server.request("POST", "/v1/scores", json={"conversation": {"turns": turns}})
    assert told.status_code == 200, told.text
    answers = {answer["indicator"]: answer for answer in told.json()["answers"]}
    assert answers["reason"]["label"] == "lost card"
    assert answers["polite"]["label"] == "no"


@pytest.mark.parametrize(
    ("label", "told"),
    [("two\nlines", "line ends"), ("", "is empty"), ("x" * 40, "more than 20")],
)
def test_texts_that_cannot_be_learned_are_named(
    folder: Path, tmp_path: Path, label: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [call(at) for at in range(4)]
    rows[1] = replace(rows[1], labels={**rows[1].labels, "reason": label})
    for name in ("model", "indicators"):
        (tmp_path / name).symlink_to(folder / name)
    write_jsonl(tmp_path / "train.jsonl", rows)
    assert run("train", str(write_recipe(tmp_path / "recipe.toml", "epochs = 1\n"))) == 2
    error = " ".join(capsys.readouterr().err.split())
    assert told in error
    assert "reason" in error


def test_a_dry_run_counts_texts(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", str(folder / "recipe.toml"), "--dry-run", "--json") == 0
    labels = {each["indicator"]: each for each in json.loads(capsys.readouterr().out)["labels"]}
    assert labels["reason"]["counts"] == {"2 different texts": 8}


def test_an_indicator_file_of_a_text_is_read_back() -> None:
    indicator = parse_indicator({**TEXT, "max_tokens": 12}, "here")
    assert indicator.is_text
    assert (indicator.labels, indicator.positive, indicator.max_tokens) == ((), (), 12)
    assert parse_indicator(TEXT, "here").max_tokens == 32
    written = indicator_toml(indicator)
    import tomllib

    assert parse_indicator(tomllib.loads(written), "there") == indicator


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"labels": ["a", "b"]}, "labels"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"not_applicable": "none"}, "not_applicable"),
        ({"kind": "binary"}, "labels"),
        ({"kind": "binary", "labels": ["a", "b"], "max_tokens": 3}, "max_tokens"),
    ],
)
def test_what_a_text_has_no_use_for_is_refused(change: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidIndicator) as caught:
        parse_indicator({**TEXT, **change}, "here")
    assert caught.value.field == field


def test_a_label_set_has_no_limit_of_tokens() -> None:
    with pytest.raises(InvalidIndicator):
        Indicator("a", "?", ("x", "y"), ("y",), "binary", "a", max_tokens=3)


def test_a_teacher_is_not_asked_for_texts(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ("--indicators", str(folder / "indicators"), "--output", str(tmp_path / "out.jsonl"))
    teacher = ("--teacher", "http://127.0.0.1:9/v1", "--model", "m")
    assert run("distill", str(folder / "train.jsonl"), *where, *teacher) == 2
    assert "'reason' has none" in " ".join(capsys.readouterr().err.split())


def test_texts_are_judged_beside_labels(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        replace(call(at), transcript=replace(call(at).transcript, id=f"t{at}")) for at in range(4)
    ]
    rows[3] = replace(rows[3], labels={**rows[3].labels, "reason": "Rate too low"})
    write_jsonl(tmp_path / "test.jsonl", rows)
    data = (str(tmp_path / "test.jsonl"), "--indicators", str(folder / "indicators"))
    where = ("--model", str(folder / "model"), "--adapters", str(folder / "adapters"))
    assert run("evaluate", *data, *where, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    [text] = report["texts"]
    assert [row["indicator"] for row in report["indicators"]] == ["polite"]
    assert text["same"]["mean"]["value"] == 0.75
    assert text["rouge_l"]["mean"]["value"] == pytest.approx((3 + 2 / 3) / 4)
    assert run("evaluate", *data, *where, "--train", str(folder / "train.jsonl")) == 0
    assert "ROUGE-L" in capsys.readouterr().out
