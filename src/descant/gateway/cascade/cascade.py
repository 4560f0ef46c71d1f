"""Asks a cascade's stages one after another until all that was asked is settled.

It knows no HTTP: how a model is asked is passed in. Stages are asked for whole answers, also where
the caller wants a stream: what is not yet there cannot be judged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from descant.gateway.call import Call, Usage
from descant.gateway.cascade.acceptance import Acceptance, Fits
from descant.gateway.cascade.offers import TEXT_UNIT, Json, offers_of
from descant.gateway.cascade.questions import (
    asked_for_logprobs,
    named_indicators,
    stage_call,
    still_open,
    without_logprobs,
)
from descant.gateway.cascade.scorecards import (
    answers_by_indicator,
    for_review,
    merge_scorecards,
    unanswered_by_cascade,
)
from descant.gateway.cascade.stages import CascadeConfig
from descant.gateway.cascade.thresholds import Thresholds
from descant.schema.errors import (
    ClientGone,
    DeadlineExceeded,
    DescantError,
    InputError,
    UpstreamFailed,
)


@dataclass(frozen=True, slots=True)
class StageAnswer:
    """What one model said."""

    body: Json
    usage: Usage = Usage()
    cost_nano: int = 0
    """Billionths of the money unit."""


Ask = Callable[[Call, str], Awaitable[StageAnswer]]
"""Asks one model; raises a `DescantError` where it gives no answer."""


@dataclass(frozen=True, slots=True)
class Step:
    """One stage that was asked."""

    model: str
    time_s: float
    usage: Usage = Usage()
    cost_nano: int = 0
    settled: tuple[str, ...] = ()
    """Indicators, or ``answer``, that it settled."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Why each of the others went on: ``unsure``, ``no_confidence``, ``schema``, ``not_json``,
    ``no_text``, ``empty`` or ``unanswered``."""
    error: str | None = None
    """The code of what went wrong, where there was no answer at all."""


@dataclass(frozen=True, slots=True)
class CascadeAnswer:
    """What the caller gets, and how it came about."""

    body: dict[str, Any]
    answered_by: Mapping[str, str]
    """The model that settled each indicator, or ``answer``."""
    steps: tuple[Step, ...]
    needs_review: tuple[str, ...] = ()
    """What no stage was sure of and a person is to look at."""

    @property
    def cost_nano(self) -> int:
        """Of all stages, whether their answer was taken or not."""
        return sum(step.cost_nano for step in self.steps)

    @property
    def usage(self) -> Usage:
        """Of all stages."""
        return Usage(
            sum(step.usage.prompt_tokens for step in self.steps),
            sum(step.usage.completion_tokens for step in self.steps),
            sum(step.usage.cached_tokens for step in self.steps),
        )


class Cascade:
    """The stages behind one model's name; holds nothing of any request."""

    def __init__(
        self, config: CascadeConfig, thresholds: Thresholds, clock: Callable[[], float]
    ) -> None:
        """Make the stages ready; `clock` is the one that calls' seconds are of.

        Raises:
            InvalidConfig: a schema file holds no schema.
            MissingDependency: schemas are to be checked and the package for it is not installed.
        """
        self._stages = [
            _Stage(model, stage.timeout_s, Acceptance(model, stage, thresholds))
            for model, stage in config.stages.items()
        ]
        self._unsettled: Literal["fail", "human"] = config.unsettled
        self._clock = clock

    async def run(self, call: Call, ask: Ask) -> CascadeAnswer:
        """Return the answer of the first stage, or stages, that were sure of it.

        Raises:
            InputError: the operation has nothing to be sure of, or the request's schema is none.
            UpstreamFailed: there were answers, and no stage accepted any.
            DeadlineExceeded: the caller's time had passed before there was one.
            DescantError: what the last stage said, where none gave an answer.
        """
        if call.operation == "embeddings":
            raise InputError("An embedding has no confidence to go by.", field="model")
        judges = [stage.judge(call) for stage in self._stages]
        course = _Course(
            call, named_indicators(call) if call.operation == "scores" else [TEXT_UNIT]
        )
        for stage, judge in zip(self._stages, judges, strict=True):
            await self._ask(course, stage, ask, judge)
            if course.is_settled or self._clock() >= call.deadline_s:
                break
        return course.end(self._unsettled)

    async def _ask(self, course: _Course, stage: _Stage, ask: Ask, judge: _Judge) -> None:
        """Ask one stage and note what it said or why it did not."""
        started_s = self._clock()
        deadline_s = course.call.deadline_s
        if stage.timeout_s is not None:
            deadline_s = min(deadline_s, started_s + stage.timeout_s)
        asked = stage_call(course.call, stage.model, course.pending, deadline_s)
        try:
            async with asyncio.timeout(deadline_s - started_s):
                answer = await ask(asked, stage.model)
        except ClientGone:
            raise
        except TimeoutError:
            error = DeadlineExceeded(f"{stage.model} did not answer in time.")
            course.fail(stage.model, error, self._clock() - started_s)
        except DescantError as error:
            course.fail(stage.model, error, self._clock() - started_s)
        else:
            course.take(stage.model, answer, judge, self._clock() - started_s)


@dataclass(frozen=True, slots=True)
class _Judge:
    """A stage's rules, with what this request says an answer must fit."""

    acceptance: Acceptance
    fits: Fits | None


@dataclass(frozen=True, slots=True)
class _Stage:
    """One model."""

    model: str
    timeout_s: float | None
    acceptance: Acceptance

    def judge(self, call: Call) -> _Judge:
        return _Judge(self.acceptance, self.acceptance.request_schema(call.body))


class _Course:
    """One request on its way through the stages."""

    def __init__(self, call: Call, pending: list[str] | None):
        self.call = call
        self.pending = pending
        """What is not settled; None while nobody knows which indicators there are."""
        self._order = pending
        self._steps: list[Step] = []
        self._bodies: list[Json] = []
        self._settled: dict[str, Json] = {}
        self._last: dict[str, Json] = {}
        """What was said last about what is not settled."""
        self._answered_by: dict[str, str] = {}
        self._error: DescantError | None = None

    @property
    def is_settled(self) -> bool:
        return self.pending is not None and not self.pending

    def fail(self, model: str, error: DescantError, time_s: float) -> None:
        self._error = error
        self._steps.append(Step(model, time_s, error=error.code))

    def take(self, model: str, answer: StageAnswer, judge: _Judge, time_s: float) -> None:
        usage, cost_nano = answer.usage, answer.cost_nano
        self._error = None
        try:
            offers = offers_of(self.call.operation, answer.body)
        except UpstreamFailed as error:
            self._error = error
            self._steps.append(Step(model, time_s, usage, cost_nano, error=error.code))
            return
        said = self._said(answer.body)
        if self._order is None:
            self._order = self.pending = list(said)
        refused = {
            unit: judge.acceptance.refusal(unit, offers[unit], judge.fits)
            if unit in offers
            else "unanswered"
            for unit in self.pending or ()
        }
        settled = tuple(unit for unit, reason in refused.items() if reason is None)
        self._settled |= {unit: said[unit] for unit in settled}
        self._answered_by |= dict.fromkeys(settled, model)
        self._last |= {unit: said[unit] for unit in refused if unit in said}
        self.pending = still_open(self.pending, settled)
        self._bodies.append(answer.body)
        why = {unit: reason for unit, reason in refused.items() if reason is not None}
        self._steps.append(Step(model, time_s, usage, cost_nano, settled, why))

    def end(self, unsettled: Literal["fail", "human"]) -> CascadeAnswer:
        # People are asked where there is something to look at: an answer, if not to everything.
        has_answer = unsettled == "human" and self._bodies
        review = tuple(self.pending or ()) if has_answer else ()
        if not self._settled and not review and (self._error or not self._is_scorecard):
            raise self._error or UpstreamFailed("No model of the cascade was sure of its answer.")
        body = self._body({unit: for_review(self._best(unit)) for unit in review})
        return CascadeAnswer(body, self._answered_by, tuple(self._steps), review)

    @property
    def _is_scorecard(self) -> bool:
        return self.call.operation == "scores"

    def _said(self, body: Json) -> dict[str, Json]:
        return answers_by_indicator(body) if self._is_scorecard else {TEXT_UNIT: body}

    def _body(self, reviewed: Mapping[str, Json]) -> dict[str, Any]:
        given = {**self._settled, **reviewed}
        if self._is_scorecard:
            unanswered = {unit: self._unanswered(unit) for unit in self.pending or ()}
            return merge_scorecards(self._bodies, self._order or (), {**unanswered, **given})
        body = dict(given[TEXT_UNIT])
        return body if asked_for_logprobs(self.call) else without_logprobs(body)

    def _best(self, unit: str) -> Json:
        """Return what was said last, however unsure."""
        return self._last[unit] if unit in self._last else self._unanswered(unit)

    def _unanswered(self, unit: str) -> Json:
        """Return the answer that says why there is none."""
        said = self._last.get(unit, {})
        if said.get("unanswered") is not None:
            return said
        if self._error is not None:
            return unanswered_by_cascade(unit, f"The last model failed: {self._error.code}.")
        return unanswered_by_cascade(unit, "No model of the cascade was sure enough.")
