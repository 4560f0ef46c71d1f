"""``POST /v1/scores``: one conversation, any number of indicators, one scorecard."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from descant.monitoring import Metrics
from descant.schema import Indicator, Scorecard, Transcript, Turn, pick_indicators
from descant.schema.errors import InputError
from descant.server.engine_thread import EngineThread


def _check_whole(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("Text holds half of a surrogate pair") from error
    return text


Text = Annotated[str, AfterValidator(_check_whole)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class TurnBody(_Body):
    """One utterance."""

    speaker: Text
    text: Text


class ConversationBody(_Body):
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


class ScoreBody(_Body):
    """One request for a scorecard."""

    conversation: ConversationBody
    indicators: list[Text] | None = Field(None, description="Names; all indicators if absent.")


def scores_router(
    engine: EngineThread,
    indicators: Sequence[Indicator],
    metrics: Metrics,
    clock: Callable[[], float] = time.perf_counter,
) -> APIRouter:
    """Return the route that scores with these indicators."""
    router = APIRouter()

    @router.post("/v1/scores", summary="Answer indicators about one conversation")
    async def create_score(body: ScoreBody, request: Request) -> Scorecard:
        started = clock()
        transcript = body.conversation.to_transcript(request.state.request_id)
        scorecard = await engine.score(transcript, _choose(indicators, body.indicators))
        usage = scorecard.usage
        request.state.usage = {
            "tokens_read": usage.tokens_read,
            "tokens_shared": usage.tokens_shared,
        }
        metrics.observe_scorecard(scorecard, clock() - started)
        return scorecard

    return router


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
