"""A task answered over HTTP: asked for at once and within a budget, kept, then read like a recording.

Nothing is judged of half a run: where a budget ends or an endpoint is away, what was answered is kept
and the next run goes on there. A question that has no answer after every try is unanswered, with its
reason.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from descant.distillation import (
    Answered,
    AnswerStore,
    Cost,
    Question,
    Source,
    SourceRun,
    Teacher,
    Verdict,
    ask_source,
)
from descant.evaluation import Task
from descant.release.endpoint_plan import EndpointPlan
from descant.release.endpoint_version import served_version
from descant.schema import Answer, Indicator, Scorecard, Transcript, Usage, unanswered
from descant.schema.errors import EndpointUnusable, InvalidConfig

OnAsked = Callable[[int, int, Cost], None]


@dataclass(frozen=True)
class EndpointFigures:
    """What answers took, whenever they were given; the same conversation twice counts twice."""

    requests: int
    """That brought an answer."""
    read_tokens: int
    written_tokens: int
    money: Decimal
    """With all tries; 0 where tokens have no price."""
    latency_s: float | None
    """Of a reply, in the middle (p50); None where it was not noted."""
    slow_latency_s: float | None
    """Of 95 replies in 100 (p95) at most."""
    conversation_s: float | None
    """All replies about one conversation added up, in the mean."""

    def to_json(self) -> dict[str, Any]:
        """Return plain numbers."""
        return asdict(self) | {"money": float(self.money)}

    def to_text(self) -> str:
        """Return a sentence for people."""
        said = (
            f"{self.requests:,} answers took {self.read_tokens:,} tokens read, "
            f"{self.written_tokens:,} written, {self.money:.4f} spent"
        )
        if self.latency_s is None or self.slow_latency_s is None:
            return f"{said}."
        return f"{said}; half of them {self.latency_s:.2f} s, 95 % {self.slow_latency_s:.2f} s."


@dataclass(frozen=True)
class EndpointAnswers:
    """What an endpoint said about a task: a completer, and what it took."""

    identity: str
    """Who answered, with a hash of all answers."""
    answers: Mapping[str, Mapping[str, Answer]]
    """By conversation and indicator."""
    figures: EndpointFigures

    def score(self, transcript: Transcript, indicators: Sequence[Indicator], /) -> Scorecard:
        """Return what was said about every indicator."""
        known = self.answers.get(transcript.id, {})
        found = (known.get(i.name) or unanswered(i.name, "It was not asked.") for i in indicators)
        return Scorecard(transcript.id, tuple(found), Usage(0, 0, 0.0))


def ask_endpoint(
    plan: EndpointPlan,
    task: Task,
    answers: Path,
    on_progress: OnAsked = lambda done, total, spent: None,
) -> EndpointAnswers:
    """Ask an endpoint everything of a task that has a label, and that the file does not answer yet.

    Raises:
        InvalidConfig: the address, a limit or the file of answers cannot be used, or there is no key.
        EndpointUnusable: it is no Descant server, or its adapters were changed meanwhile.
        BudgetSpent: there is no room for the next request.
        TeacherUnavailable: it takes no requests for longer than is waited for.
        TeacherRefused: it does not know the key, the model or the indicators.
    """
    return asyncio.run(_ask(plan, task, answers, on_progress))


def spent_in(answers: Path) -> Cost:
    """Return what the answers in a file have cost so far; nothing where there is no file."""
    if not answers.exists():
        return Cost()
    with AnswerStore(answers) as store:
        return store.spent


def key_of_plan(plan: EndpointPlan) -> str | None:
    """Return the key from the environment.

    Raises:
        InvalidConfig: the variable is not set.
    """
    if plan.key_env is None:
        return None
    key = os.environ.get(plan.key_env)
    if not key:
        raise InvalidConfig(
            f"There is no key in the environment variable {plan.key_env}.", field="key_env"
        )
    return key


async def run_source(
    plan: EndpointPlan,
    teacher: Teacher,
    questions: Sequence[Question],
    answers: Path,
    on_progress: OnAsked,
) -> SourceRun:
    """Ask all questions, or end with the reason.

    Raises:
        DescantError: not everything was asked; what was answered is kept.
    """
    source = Source(
        teacher,
        plan.url,
        key_of_plan(plan),
        answers,
        plan.limits,
        plan.prices,
        plan.concurrency,
        plan.timeout_s,
    )
    run = await ask_source(source, questions, on_progress)
    stopped = run.asked.stopped
    if stopped is not None:
        said = f"{plan.name}: {stopped.message}"
        raise type(stopped)(said, field=stopped.field, remedy=stopped.remedy) from stopped
    return run


async def _ask(
    plan: EndpointPlan, task: Task, answers: Path, on_progress: OnAsked
) -> EndpointAnswers:
    key = key_of_plan(plan)
    version = await served_version(plan, key)
    questions = _questions(task)
    run = await run_source(plan, plan.teacher(version), questions, answers, on_progress)
    if await served_version(plan, key) != version:
        raise EndpointUnusable(
            f"{plan.name} was given other adapters while it was asked.",
            remedy="Ask again when it stays as it is; its answers so far are kept apart.",
        )
    pairs = zip(questions, run.answered, strict=True)
    given = {transcript.id: _answers(asked, each) for (transcript, asked), each in pairs}
    return EndpointAnswers(_identity(plan, version, given), given, _figures(run.answered))


def _questions(task: Task) -> list[Question]:
    asked = [
        (row.transcript, [i for i in task.indicators if row.labels.get(i.name) is not None])
        for row in task.rows
    ]
    return [(transcript, indicators) for transcript, indicators in asked if indicators]


def _answers(asked: Sequence[Indicator], answered: Answered) -> dict[str, Answer]:
    return {
        i.name: _answer(i.name, answered.verdicts[i.name], answered.reasons.get(i.name, ""))
        for i in asked
    }


def _answer(name: str, verdict: Verdict | None, reason: str) -> Answer:
    if verdict is None:
        return unanswered(name, f"No answer came: {reason}")
    if verdict.label is None:
        return unanswered(name, verdict.unanswered or "It gave no reason.")
    shares = verdict.probabilities
    return Answer(name, verdict.label, shares, shares.get(verdict.label), None, source="endpoint")


def _identity(plan: EndpointPlan, version: str, given: Mapping[str, Mapping[str, Answer]]) -> str:
    said = {
        id: {name: [each.label, dict(each.probabilities)] for name, each in answers.items()}
        for id, answers in given.items()
    }
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
    served = f" serving {version}" if plan.model is None else ""
    return f"{plan.name}{served}, answers sha256:{digest}"


def _figures(answered: Sequence[Answered]) -> EndpointFigures:
    kept = [each for one in answered for each in one.kept]
    cost = sum((each.cost for each in kept), Cost())
    known_s = [each.latency_s for each in kept if each.latency_s is not None]
    is_whole = bool(kept) and len(known_s) == len(kept)
    p50_s, p95_s = np.quantile(known_s, [0.5, 0.95]) if is_whole else (None, None)
    return EndpointFigures(
        len(kept),
        cost.read_tokens,
        cost.written_tokens,
        cost.money,
        None if p50_s is None else float(p50_s),
        None if p95_s is None else float(p95_s),
        sum(known_s) / len(answered) if is_whole else None,
    )
