"""From a conversation and its indicators to requests, and from the engine's outcomes to a scorecard."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from descant.engine import (
    FinishReason,
    GenerateRequest,
    GenerateResult,
    ScoreRequest,
    ScoreResult,
    Tail,
)
from descant.schema import (
    AdapterRef,
    Answer,
    Calibration,
    Indicator,
    Scorecard,
    Transcript,
    Usage,
    unanswered,
)
from descant.schema.errors import DescantError

Written = GenerateResult | DescantError
"""A text, or why there is none."""


@dataclass(frozen=True)
class ScorePlan:
    """A scorecard to be: what is asked, what cannot be, and the request for the rest."""

    transcript: Transcript
    asked: tuple[Indicator, ...]
    tails: Mapping[str, Tail]
    """By indicator name."""
    calibrations: Mapping[str, Calibration | None]
    """How the probabilities of each tail are to be calibrated."""
    refused: Mapping[str, Answer]
    request: ScoreRequest | None
    """For all labels; None when there is nothing to choose from."""
    texts: Mapping[str, GenerateRequest] = field(default_factory=dict)
    """For answers that are texts, by indicator name. They are asked for when the labels have been:
    by then the conversation has been read."""

    def text_rounds(self) -> list[list[str]]:
        """Return whom to ask at once, one round after the other; the first reader reads for all."""
        names = list(self.texts)
        return [names] if self.request is not None else [names[:1], names[1:]]


def to_scorecard(
    plan: ScorePlan,
    outcome: ScoreResult | DescantError | None,
    time_s: float,
    texts: Mapping[str, Written],
    decode: Callable[[list[int]], str],
) -> Scorecard:
    """Put the engine's outcomes of a plan into words; None where there was nothing to choose from."""
    answers = dict(plan.refused)
    answers |= {name: _text_answer(plan, name, text, decode) for name, text in texts.items()}
    if isinstance(outcome, DescantError):
        answers |= {name: unanswered(name, str(outcome)) for name in plan.tails}
    elif outcome is not None:
        scores = dict(zip(plan.tails, outcome.log_probabilities, strict=True))
        answers |= {
            indicator.name: _answer(plan, indicator, scores[indicator.name].exp().tolist())
            for indicator in plan.asked
            if indicator.name in scores
        }
    in_order = tuple(answers[indicator.name] for indicator in plan.asked)
    return Scorecard(plan.transcript.id, in_order, _usage(outcome, texts, time_s))


def _usage(
    outcome: ScoreResult | DescantError | None, texts: Mapping[str, Written], time_s: float
) -> Usage:
    usage = Usage(0, 0, time_s)
    if isinstance(outcome, ScoreResult):
        usage = Usage(outcome.num_read, outcome.num_shared, time_s)
    written = [text for text in texts.values() if isinstance(text, GenerateResult)]
    return replace(
        usage,
        tokens_read=usage.tokens_read + sum(text.num_read for text in written),
        tokens_shared=usage.tokens_shared + sum(text.num_cached for text in written),
    )


def _text_answer(
    plan: ScorePlan, name: str, text: Written, decode: Callable[[list[int]], str]
) -> Answer:
    adapter = plan.texts[name].adapter
    assert adapter is not None
    source = AdapterRef(adapter.name, adapter.content_hash)
    if isinstance(text, DescantError):
        return unanswered(name, str(text), source)
    if text.finish_reason is not FinishReason.STOP:
        return unanswered(name, f"It did not end within {len(text.token_ids)} tokens.", source)
    words = " ".join(decode(list(text.token_ids)).split())
    return (
        Answer(name, words, {}, None, source) if words else unanswered(name, "It is empty.", source)
    )


def _answer(plan: ScorePlan, indicator: Indicator, probabilities: list[float]) -> Answer:
    adapter, calibration = plan.tails[indicator.name].adapter, plan.calibrations[indicator.name]
    assert adapter is not None
    raw = dict(zip(indicator.labels, probabilities, strict=True))
    by_label = raw if calibration is None else calibration.apply(raw)
    # Between equals the raw ones decide, so that no temperature changes a label.
    label = max(by_label, key=lambda name: (by_label[name], raw[name]))
    return Answer(
        indicator.name,
        label,
        by_label,
        by_label[label],
        AdapterRef(adapter.name, adapter.content_hash),
        raw_probabilities=None if calibration is None else raw,
    )
