"""A chat model that judges pairs of texts, each in both orders, within a budget and kept like any answer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from descant.distillation import Answered, ChatConfig, ChatTeacher, Question
from descant.evaluation import JudgedPair, PairLabel
from descant.release.endpoint_plan import EndpointPlan
from descant.release.endpoint_run import OnAsked, run_source
from descant.release.judge_prompt import build_pair_messages, pair_indicator, pair_transcript
from descant.schema import Transcript
from descant.schema.errors import InvalidConfig


@dataclass(frozen=True)
class TextPair:
    """Two answers to one question about a conversation."""

    transcript: Transcript
    indicator: str
    question: str
    expected: str
    """What a person wrote; empty where nobody did."""
    first: str
    second: str


def judge_pairs(
    plan: EndpointPlan,
    pairs: Sequence[TextPair],
    answers: Path,
    on_progress: OnAsked = lambda done, total, spent: None,
) -> tuple[JudgedPair, ...]:
    """Have every pair judged in both orders; equal texts are a tie that nobody is asked about.

    Raises:
        InvalidConfig: the judge is no chat model, or address, limit or file cannot be used.
        DescantError: not everything was asked; what was answered is kept.
    """
    if plan.model is None:
        raise InvalidConfig("A judge is a chat model.", field="model", remedy="Name its model.")
    asked = [pair for pair in pairs if pair.first != pair.second]
    questions = [question for pair in asked for question in _questions(pair)]
    teacher = ChatTeacher(
        ChatConfig(plan.model, max_answer_tokens=plan.max_answer_tokens), build_pair_messages
    )
    run = asyncio.run(run_source(plan, teacher, questions, answers, on_progress))
    orders = zip(run.answered[::2], run.answered[1::2], strict=True)
    said = iter([_judged(pair, *both) for pair, both in zip(asked, orders, strict=True)])
    return tuple(
        JudgedPair("tie", "tie") if pair.first == pair.second else next(said) for pair in pairs
    )


def _questions(pair: TextPair) -> list[Question]:
    indicator = pair_indicator(pair.indicator, pair.question)
    both = ((pair.first, pair.second), (pair.second, pair.first))
    return [
        (pair_transcript(pair.transcript, pair.expected, *texts), [indicator]) for texts in both
    ]


def _judged(pair: TextPair, as_given: Answered, swapped: Answered) -> JudgedPair:
    labels = [each.verdicts[pair.indicator] for each in (as_given, swapped)]
    found = [None if each is None else cast("PairLabel | None", each.label) for each in labels]
    reasons = [_reason(each.reasons, each, pair.indicator) for each in (as_given, swapped)]
    return JudgedPair(found[0], found[1], next((each for each in reasons if each), ""))


def _reason(reasons: Mapping[str, str], answered: Answered, name: str) -> str:
    verdict = answered.verdicts[name]
    return reasons.get(name, "") if verdict is None else verdict.unanswered or ""
