"""``descant serve`` itself as the teacher, by both ways it can be asked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from descant.distillation import ChatConfig, ChatTeacher, ScoreTeacher
from descant.llm import LLM
from descant.schema import Indicator, Message
from tests.distillation.asking import label
from tests.distillation.calls import transcript, transcripts
from tests.server.live import live, load, write_served


@pytest.fixture(scope="module")
def llm(tmp_path_factory: pytest.TempPathFactory) -> LLM:
    return load(write_served(tmp_path_factory.mktemp("teacher")))


@pytest.fixture(scope="module")
def address(llm: LLM) -> Iterator[str]:
    with live(llm) as (url, _):
        yield f"{url}/v1"


@pytest.fixture
def indicators(llm: LLM) -> tuple[Indicator, ...]:
    return llm.indicators()


def test_scores_are_soft_labels(
    llm: LLM, address: str, indicators: tuple[Indicator, ...], tmp_path: Path
) -> None:
    teacher = ScoreTeacher("adapters", soft=True)
    calls = transcripts(4)
    run = label(address, tmp_path / "answers.jsonl", calls, indicators, teacher=teacher)
    assert run.asked.stopped is None
    for call, verdicts in zip(calls, run.verdicts, strict=True):
        for answer in llm.score(call, indicators).answers:
            verdict = verdicts[answer.indicator]
            assert verdict is not None
            assert verdict.label == answer.label
            assert verdict.probabilities == pytest.approx(answer.probabilities, abs=1e-5)
    assert run.spent.read_tokens > 0


def test_an_indicator_the_teacher_does_not_know_ends_the_run(address: str, tmp_path: Path) -> None:
    unknown = Indicator("upsell", "Upsell?", ("no", "yes"), ("yes",), "binary", "upsell")
    teacher = ScoreTeacher("adapters", soft=True)
    run = label(address, tmp_path / "answers.jsonl", transcripts(4), [unknown], teacher=teacher)
    assert "status 404: Unknown indicator: upsell" in str(run.asked.stopped)


def test_a_chat_is_held_to_the_labels(
    llm: LLM, address: str, indicators: tuple[Indicator, ...], tmp_path: Path
) -> None:
    teacher = ChatTeacher(ChatConfig(llm.model_name))
    run = label(address, tmp_path / "answers.jsonl", transcripts(2), indicators, teacher=teacher)
    assert run.asked.stopped is None
    assert not run.asked.given_up
    for verdicts in run.verdicts:
        for indicator in indicators:
            verdict = verdicts[indicator.name]
            assert verdict is not None
            assert verdict.label in indicator.labels, verdict.unanswered


def test_a_chat_gives_log_probabilities_of_the_labels_or_none_are_made_up(
    llm: LLM, address: str, indicators: tuple[Indicator, ...], tmp_path: Path
) -> None:
    teacher = ChatTeacher(ChatConfig(llm.model_name, soft=True))
    run = label(address, tmp_path / "answers.jsonl", transcripts(6), indicators, teacher=teacher)
    assert not run.asked.given_up
    for verdicts in run.verdicts:
        for verdict in verdicts.values():
            assert verdict is not None
            if verdict.label is None:
                # A random model gives labels little of its probability.
                assert "do not tell the labels apart" in (verdict.unanswered or "")
            else:
                assert sum(verdict.probabilities.values()) == pytest.approx(1)


def test_what_a_chat_takes_is_within_what_was_set_aside(
    llm: LLM, indicators: tuple[Indicator, ...]
) -> None:
    """The bound of a byte for a token, on a tokenizer of bytes, and on the worst of texts."""
    teacher = ChatTeacher(ChatConfig(llm.model_name))
    for ask in teacher.asks(transcript(0), indicators):
        [body, *_] = teacher.bodies(ask)
        messages = [Message(each["role"], each["content"]) for each in body["messages"]]
        read, _ = teacher.most_tokens(ask, len(json.dumps(body, ensure_ascii=False).encode()))
        assert len(llm.renderer.render_chat(messages)) <= read
