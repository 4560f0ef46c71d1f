"""The Python API: text in, scorecards or text out.

    from descant import LLM
    llm = LLM("smollm2-135m-instruct", adapters="runs/demo/adapters")
    scorecard = llm.score(conversation, indicators="indicators/")

Sits between text and the engine: renders, asks, and puts answers back into words. Each indicator's
adapter is loaded when it is first asked for. What cannot be answered is an answer that says why.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from descant.engine import (
    Engine,
    EngineConfig,
    GenerateRequest,
    SamplingParams,
    ScoreRequest,
    ScoreResult,
    Tail,
)
from descant.model import LoadedModel, LoraAdapter, find_invocation, load_adapter, load_model
from descant.registry import find_adapters, read_manifest, resolve_adapter
from descant.schema import (
    AdapterRef,
    Answer,
    Indicator,
    Message,
    Scorecard,
    Transcript,
    Turn,
    Usage,
    load_indicators,
    parse_indicator,
    pick_indicators,
    unanswered,
)
from descant.schema.errors import (
    AdapterNotFound,
    ContextTooLong,
    DescantError,
    InvalidAdapter,
    InvalidTranscript,
    InvocationMissing,
    OutOfBlocks,
    UnknownIndicator,
)
from descant.text import Renderer, Tokenizer

Conversation = Transcript | Sequence[Turn] | Mapping[str, Any]
"""A transcript, its turns, or the JSON form ``{"id": …, "turns": [{"speaker", "text"}]}``."""

Indicators = Sequence[Indicator] | Sequence[str] | Path | str
"""Indicators, names of the adapters' own indicators, or a folder of indicator files."""


@dataclass(frozen=True)
class Generation:
    """Generated text, and what it took."""

    text: str
    finish_reason: str
    """``stop`` or ``length``."""
    prompt_tokens: int
    output_tokens: int


class LLM:
    """One base model with a folder of adapters.

    Raises:
        ModelNotFound: there is no such model; other errors of `descant.model.load_model` likewise.
    """

    def __init__(
        self,
        model: str | Path = "smollm2-135m-instruct",
        *,
        adapters: str | Path | None = None,
        dtype: torch.dtype = torch.bfloat16,
        device: str = "cpu",
        engine: EngineConfig | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ):
        """Load the base model; adapters are loaded when first used."""
        self.model_name = str(model)
        self._base: LoadedModel = load_model(model, dtype, device)
        self._tokenizer = Tokenizer.load(self._base.folder)
        self._renderer = Renderer(self._tokenizer)
        self._folders = [] if adapters is None else [Path(adapters)]
        self._clock = clock
        self._base.model.prepack()
        self.engine = Engine(self._base.model, self._base.base_hash, engine)
        self._loaded: dict[str, LoraAdapter] = {}
        self._labels: dict[str, tuple[str, ...] | None] = {}

    @property
    def base_hash(self) -> str:
        """``sha256:…`` of the base model."""
        return self._base.base_hash

    def load_adapters(self) -> list[AdapterRef]:
        """Load every adapter in the folder now, rather than when it is first asked for.

        Raises:
            InvalidAdapter: names the file and field of one that cannot be loaded.
            OutOfSlots: there are more than the engine holds.
        """
        for folder in self._folders:
            for entry in find_adapters(folder):
                self._adapter(entry.name)
        return self.adapters()

    def adapters(self) -> list[AdapterRef]:
        """Return the adapters that are loaded."""
        return [AdapterRef(a.name, a.content_hash) for a in list(self._loaded.values())]

    def indicators(self) -> tuple[Indicator, ...]:
        """Return the indicators that the adapters in the folder were trained for."""
        entries = [entry for folder in self._folders for entry in find_adapters(folder)]
        return tuple(
            parse_indicator(entry.manifest.indicator, str(entry.path))
            for entry in entries
            if entry.manifest is not None
        )

    def score(self, conversation: Conversation, indicators: Indicators | None = None) -> Scorecard:
        """Read a conversation once and answer every indicator about it.

        Raises:
            InvalidTranscript: the conversation is empty or malformed.
            UnknownIndicator: an indicator asked for by name is not there.
            InvalidIndicator: an indicator file is wrong.
        """
        return next(self.score_many([conversation], indicators))

    def score_many(
        self,
        conversations: Iterable[Conversation],
        indicators: Indicators | None = None,
        batch_conversations: int = 4,
    ) -> Iterator[Scorecard]:
        """Yield a scorecard for each conversation, in order, several in a batch.

        Raises:
            InvalidTranscript: a conversation is empty or malformed.
            UnknownIndicator: an indicator asked for by name is not there.
        """
        asked = self._indicators(indicators)
        batch: list[Transcript] = []
        for conversation in conversations:
            batch.append(to_transcript(conversation))
            if len(batch) == batch_conversations:
                yield from self._score_batch(batch, asked)
                batch = []
        if batch:
            yield from self._score_batch(batch, asked)

    def generate(
        self,
        prompt: str | Sequence[Message],
        *,
        max_tokens: int = 64,
        temperature: float = 0.0,
        adapter: str | None = None,
        seed: int | None = None,
    ) -> Generation:
        """Answer a chat, or a single user message, in free text.

        Raises:
            AdapterNotFound: there is no such adapter.
            ContextTooLong: prompt and answer do not fit the model.
        """
        messages = [Message("user", prompt)] if isinstance(prompt, str) else list(prompt)
        prompt_ids = tuple(self._renderer.render_chat(messages))
        loaded = None if adapter is None else self._adapter(adapter)
        sampling = SamplingParams(
            max_tokens, temperature, seed=seed, stop_token_ids=self._tokenizer.eos_ids
        )
        content_hash = None if loaded is None else loaded.content_hash
        [result] = self.engine.generate([GenerateRequest(prompt_ids, sampling, content_hash)])
        text = self._tokenizer.decode(list(result.token_ids))
        return Generation(text, result.finish_reason.value, len(prompt_ids), len(result.token_ids))

    def _indicators(self, indicators: Indicators | None) -> tuple[Indicator, ...]:
        if isinstance(indicators, str | Path):
            return load_indicators(Path(indicators))
        if indicators is None:
            asked = self.indicators()
        elif all(isinstance(item, str) for item in indicators):
            asked = pick_indicators(self.indicators(), [str(item) for item in indicators])
        else:
            asked = tuple(item for item in indicators if isinstance(item, Indicator))
        if not asked:
            raise UnknownIndicator(
                "There is no indicator to answer.",
                field="indicators",
                remedy="Name indicators, or an adapter folder whose adapters carry theirs.",
            )
        return asked

    def _score_batch(
        self, batch: Sequence[Transcript], asked: Sequence[Indicator]
    ) -> Iterator[Scorecard]:
        started = self._clock()
        tails, refused = self._tails(asked)
        results = self._results(batch, tuple(tails.values()))
        share_s = (self._clock() - started) / len(batch)
        for transcript, result in zip(batch, results, strict=True):
            yield self._scorecard(transcript, asked, tails, refused, result, share_s)

    def _tails(self, asked: Sequence[Indicator]) -> tuple[dict[str, Tail], dict[str, Answer]]:
        """Return the tail of each indicator that can be asked, and the answer of those that cannot."""
        tails, refused = {}, {}
        for indicator in asked:
            try:
                tails[indicator.name] = self._tail(indicator)
            except DescantError as error:
                refused[indicator.name] = unanswered(indicator.name, str(error))
        return tails, refused

    def _tail(self, indicator: Indicator) -> Tail:
        adapter = self._adapter(indicator.adapter)
        trained = self._labels[indicator.adapter]
        if trained is not None and trained != indicator.labels:
            raise InvalidAdapter(
                f"Adapter {indicator.adapter!r} was trained on labels {list(trained)}, "
                f"not {list(indicator.labels)}.",
                field="labels",
            )
        token_ids = tuple(self._renderer.render_tail(indicator))
        invocation = adapter.invocation_tokens
        if invocation is not None and find_invocation(token_ids, invocation) is None:
            raise InvocationMissing(
                f"Adapter {indicator.adapter!r} is invoked by tokens {list(invocation)}, "
                f"which this model's template does not write.",
                remedy="Use the base model and chat template it was trained with.",
            )
        labels = tuple(map(tuple, self._renderer.render_labels(indicator.labels)))
        return Tail(token_ids, labels, adapter.content_hash)

    def _results(
        self, batch: Sequence[Transcript], tails: tuple[Tail, ...]
    ) -> list[ScoreResult | DescantError]:
        """Run what fits; a conversation that does not fit gets the reason instead of a result."""
        if not tails:
            return [AdapterNotFound("No indicator could be asked.") for _ in batch]
        requests = [
            ScoreRequest(tuple(self._renderer.render_transcript(transcript)), tails)
            for transcript in batch
        ]
        outcomes: list[ScoreResult | DescantError | None] = [
            self._refusal(request) for request in requests
        ]
        fitting = [r for r, outcome in zip(requests, outcomes, strict=True) if outcome is None]
        scored = iter(self.engine.score(fitting))
        return [next(scored) if outcome is None else outcome for outcome in outcomes]

    def _refusal(self, request: ScoreRequest) -> DescantError | None:
        try:
            self.engine.check(request)
        except (ContextTooLong, OutOfBlocks) as error:
            return error
        return None

    def _scorecard(
        self,
        transcript: Transcript,
        asked: Sequence[Indicator],
        tails: Mapping[str, Tail],
        refused: Mapping[str, Answer],
        result: ScoreResult | DescantError,
        time_s: float,
    ) -> Scorecard:
        answers = dict(refused)
        if isinstance(result, DescantError):
            usage = Usage(0, 0, time_s)
            answers |= {name: unanswered(name, str(result)) for name in tails}
        else:
            usage = Usage(result.num_read, result.num_shared, time_s)
            scores = dict(zip(tails, result.log_probabilities, strict=True))
            answers |= {
                indicator.name: self._answer(indicator, scores[indicator.name].exp().tolist())
                for indicator in asked
                if indicator.name in scores
            }
        return Scorecard(transcript.id, tuple(answers[i.name] for i in asked), usage)

    def _answer(self, indicator: Indicator, probabilities: list[float]) -> Answer:
        adapter = self._loaded[indicator.adapter]
        by_label = dict(zip(indicator.labels, probabilities, strict=True))
        label = max(by_label, key=by_label.__getitem__)
        reference = AdapterRef(adapter.name, adapter.content_hash)
        return Answer(indicator.name, label, by_label, by_label[label], reference)

    def _adapter(self, name: str) -> LoraAdapter:
        if name not in self._loaded:
            folder = resolve_adapter(name, self._folders)
            base = self._base
            adapter = load_adapter(
                folder, base.config, base.model.dtype, base_hash=base.base_hash, name=name
            )
            self.engine.load_adapter(adapter)
            self._loaded[name] = adapter
            self._labels[name] = _trained_labels(folder)
        return self._loaded[name]


def to_transcript(conversation: Conversation) -> Transcript:
    """Return the transcript that a conversation in any accepted form means.

    Raises:
        InvalidTranscript: it is empty, or a field is missing, unknown or not text.
    """
    if isinstance(conversation, Transcript):
        return conversation
    if not isinstance(conversation, Mapping):
        return Transcript("conversation", tuple(conversation))
    unknown = sorted(set(conversation) - {"id", "turns", "labels"})
    if unknown:
        raise InvalidTranscript(
            f"Unknown field {unknown[0]!r}.", field=unknown[0], remedy="Known: id, turns."
        )
    turns = tuple(_turn(turn) for turn in conversation.get("turns", ()))
    return Transcript(str(conversation.get("id", "conversation")), turns)


def _turn(turn: object) -> Turn:
    if isinstance(turn, Turn):
        return turn
    if (
        not isinstance(turn, Mapping)
        or set(turn) != {"speaker", "text"}
        or not all(isinstance(value, str) for value in turn.values())
    ):
        raise InvalidTranscript("A turn needs a speaker and a text, both text.", field="turns")
    return Turn(turn["speaker"], turn["text"])


def _trained_labels(folder: Path) -> tuple[str, ...] | None:
    if not (folder / "manifest.json").exists():
        return None
    return tuple(read_manifest(folder).indicator["labels"])
