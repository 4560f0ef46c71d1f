"""``POST /v1/scores``: one conversation, any number of indicators, one scorecard."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from fastapi import APIRouter, Request
from pydantic import Field

from descant.engine import GenerateRequest, GenerateResult, ScoreRequest, ScoreResult
from descant.llm import ScorePlan
from descant.schema import (
    DescantError,
    Indicator,
    Scorecard,
    Transcript,
    Turn,
    pick_indicators,
)
from descant.schema.errors import ContextTooLong, InputError, OutOfBlocks
from descant.server.body import Body, Text
from descant.server.generations import together, unless_gone
from descant.server.keys import Caller, identify
from descant.server.service import Service
from descant.server.trial import Course, Side

_MIRROR_PRIORITY = 100
"""Behind everything that a caller waits for."""


class TurnBody(Body):
    """One utterance."""

    speaker: Text
    text: Text


class ConversationBody(Body):
    """What was said, in order."""

    turns: list[TurnBody]
    id: Text | None = Field(
        None, description="Comes back as transcript_id; the request's id if absent."
    )

    def to_transcript(self, default_id: str) -> Transcript:
        """Return the conversation in the words of the other rooms.

        Raises:
            InvalidTranscript: nothing is said in it, or its id is empty.
        """
        turns = tuple(Turn(turn.speaker, turn.text) for turn in self.turns)
        return Transcript(default_id if self.id is None else self.id, turns)


class ScoreBody(Body):
    """One request for a scorecard."""

    conversation: ConversationBody
    indicators: list[Text] | None = Field(None, description="Names; all indicators if absent.")
    priority: int = Field(0, ge=-100, le=100, description="Lower is sooner.")
    cache_salt: Text = Field("", description="Cached readings are shared only under one salt.")


def scores_router(service: Service) -> APIRouter:
    """Return the route that answers indicators."""
    router = APIRouter()

    @router.post("/v1/scores", summary="Answer indicators about one conversation")
    async def create_score(body: ScoreBody, request: Request) -> Scorecard:
        started = service.clock()
        transcript = body.conversation.to_transcript(request.state.request_id)
        caller = identify(request)
        asked = _choose(service.known_indicators(), body.indicators)
        for indicator in asked:
            caller.check_model(indicator.adapter)
        course = _course(service, transcript, caller)
        asking = _Asking(service, transcript, caller.salt(body.cache_salt))
        priority = caller.priority(body.priority)
        served = _as_asked(service, course, asked)
        scorecard = await unless_gone(request, asking.score(served, priority))
        scorecard = replace(
            scorecard, usage=replace(scorecard.usage, time_s=service.clock() - started)
        )
        _mirror(service, course, asking, asked, scorecard)
        request.state.usage = {
            "tokens_read": scorecard.usage.tokens_read,
            "tokens_shared": scorecard.usage.tokens_shared,
        }
        service.metrics.observe_scorecard(scorecard, service.clock() - started)
        return scorecard

    return router


@dataclass(frozen=True)
class _Asking:
    """One conversation, to be asked about."""

    service: Service
    transcript: Transcript
    salt: str

    async def score(self, indicators: Sequence[Indicator], priority: int) -> Scorecard:
        service, started = self.service, self.service.clock()
        # Rendering and loading adapters take a while; the event loop has others to serve.
        plan = await asyncio.to_thread(
            service.llm.plan, self.transcript, indicators, salt=self.salt, priority=priority
        )
        outcome = None if plan.request is None else await _outcome(service, plan.request)
        texts = await _texts(service, plan)
        return service.llm.scorecard(plan, outcome, service.clock() - started, texts)


def _course(service: Service, transcript: Transcript, caller: Caller) -> Course:
    if service.trial is None:
        return Course("champion", is_mirrored=False)
    return service.trial.course(transcript.id, caller.tenant)


def _as_asked(service: Service, course: Course, asked: Sequence[Indicator]) -> Sequence[Indicator]:
    return asked if service.trial is None else service.trial.asked_of(course.answered_by, asked)


def _mirror(
    service: Service,
    course: Course,
    asking: _Asking,
    asked: Sequence[Indicator],
    given: Scorecard,
) -> None:
    """Ask the other side about those that have a challenger, when there is nothing better to do."""
    trial = service.trial
    tried = () if trial is None or not course.is_mirrored else trial.tried(asked)
    if trial is None or not tried:
        return
    other: Side = "challenger" if course.answered_by == "champion" else "champion"
    mirrored = trial.asked_of(other, tried)
    trial.mirror(tried, given, lambda: asking.score(mirrored, _MIRROR_PRIORITY), course.answered_by)


async def _outcome(service: Service, request: ScoreRequest) -> ScoreResult | DescantError:
    """Return the answer, or why this conversation has none; a busy server is not the latter."""
    try:
        return await service.engine.score(request)
    except (ContextTooLong, OutOfBlocks) as error:
        return error


async def _texts(service: Service, plan: ScorePlan) -> dict[str, GenerateResult | DescantError]:
    """Return what is written for the indicators whose answer is a text."""
    written: dict[str, GenerateResult | DescantError] = {}
    for names in plan.text_rounds():
        found = await together(_text(service, plan.texts[name]) for name in names)
        written |= dict(zip(names, found, strict=True))
    return written


async def _text(service: Service, request: GenerateRequest) -> GenerateResult | DescantError:
    try:
        async with aclosing(service.engine.generate(request)) as words:
            async for word in words:
                if isinstance(word, GenerateResult):
                    return word
    except (ContextTooLong, OutOfBlocks) as error:
        return error
    raise AssertionError("a generation ends with its result")


def _choose(known: Sequence[Indicator], names: Sequence[str] | None) -> tuple[Indicator, ...]:
    if names is None:
        return tuple(known)
    if not names or len(set(names)) < len(names):
        raise InputError(
            "indicators is empty or names one twice.",
            field="indicators",
            remedy="Name each indicator once, or leave the field out for all of them.",
        )
    return pick_indicators(known, names)
