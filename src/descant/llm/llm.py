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
from dataclasses import dataclass, replace
from functools import partial
from itertools import zip_longest
from pathlib import Path

import torch

from descant.adapters import AdapterLibrary, FolderContent, LibraryConfig, read_folder
from descant.engine import (
    Engine,
    EngineConfig,
    GenerateRequest,
    GenerateResult,
    SamplingParams,
    ScoreRequest,
    ScoreResult,
    Tail,
)
from descant.llm.score_plan import ScorePlan, Written, to_scorecard
from descant.model import LoadedModel, LoraAdapter, find_invocation, load_adapter, load_model
from descant.registry import find_adapters, resolve_adapter
from descant.schema import (
    AdapterRef,
    Answer,
    Calibration,
    Conversation,
    Indicator,
    Message,
    Quantization,
    Scorecard,
    Transcript,
    check_quantization,
    load_indicators,
    parse_indicator,
    pick_indicators,
    to_transcript,
    unanswered,
)
from descant.schema.errors import (
    AdapterNotFound,
    DescantError,
    InvalidAdapter,
    InvocationMissing,
    UnknownIndicator,
)
from descant.text import Renderer, Tokenizer

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
        InvalidConfig: there is no such quantization.
    """

    def __init__(  # noqa: PLR0913 - one choice each
        self,
        model: str | Path = "smollm2-135m-instruct",
        *,
        adapters: str | Path | None = None,
        library: LibraryConfig | None = None,
        dtype: torch.dtype = torch.bfloat16,
        device: str = "cpu",
        quantization: Quantization | None = None,
        engine: EngineConfig | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ):
        """Load the base model; adapters are loaded when first used.

        `adapters` is a folder of adapter folders; `library` says more about where they may be and
        how much memory they may take. `quantization` keeps the base's weights in int8; adapters
        and what they were trained on stay as they are.
        """
        check_quantization(quantization)
        self.model_name = str(model)
        self._base: LoadedModel = load_model(model, dtype, device)
        self.tokenizer = Tokenizer.load(self._base.folder)
        self.renderer = Renderer(self.tokenizer)
        places = library or LibraryConfig()
        if adapters is not None:
            places = replace(places, folders=(Path(adapters), *places.folders))
        self.library = AdapterLibrary.for_model(self._base, places)
        self._clock = clock
        self._base.model.prepare(quantization)
        self.engine = Engine(self._base.model, self._base.base_hash, engine)
        self._by_path: dict[str, FolderContent] = {}

    @property
    def base_hash(self) -> str:
        """``sha256:…`` of the base model."""
        return self._base.base_hash

    @property
    def max_positions(self) -> int:
        """The longest context the model reads, in tokens."""
        return self._base.config.max_positions

    @property
    def vocab_size(self) -> int:
        """How many token ids the model knows."""
        return self._base.config.vocab_size

    def load_adapters(self) -> list[AdapterRef]:
        """Load every adapter in the folder now, rather than when it is first asked for.

        Raises:
            InvalidAdapter: names the file and field of one that cannot be loaded.
        """
        for entry in self.library.list():
            if entry.is_current:
                self.library.load(entry.name)
        return self.adapters()

    def adapters(self) -> list[AdapterRef]:
        """Return the adapters that are in memory, by name."""
        entries = sorted(self.library.list(), key=lambda entry: entry.name)
        return [
            AdapterRef(entry.name, entry.version)
            for entry in entries
            if entry.state == "host" and entry.is_current and entry.version is not None
        ]

    def indicators(self) -> tuple[Indicator, ...]:
        """Return the indicators that the adapters in the folder were trained for."""
        folders = self.library.config.folders
        entries = [entry for folder in folders for entry in find_adapters(folder)]
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
        prompt_ids = tuple(self.renderer.render_chat(messages))
        loaded = None if adapter is None else self.adapter(adapter)
        sampling = SamplingParams(
            max_tokens, temperature, seed=seed, stop_token_ids=self.tokenizer.eos_ids
        )
        [result] = self.engine.generate([GenerateRequest(prompt_ids, sampling, loaded)])
        text = self.tokenizer.decode(list(result.token_ids))
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

    def plan(
        self,
        transcript: Transcript,
        asked: Sequence[Indicator],
        *,
        salt: str = "",
        priority: int = 0,
        deadline_s: float | None = None,
    ) -> ScorePlan:
        """Return what the engine is to be asked for a scorecard; see `scorecard`.

        Raises:
            InvalidTranscript: there is nothing to read in the conversation.
        """
        prefix_ids = tuple(self.renderer.render_transcript(transcript))
        tails: dict[str, Tail] = {}
        texts: dict[str, GenerateRequest] = {}
        calibrations: dict[str, Calibration | None] = {}
        refused: dict[str, Answer] = {}
        for indicator in asked:
            try:
                content = self._content(indicator.adapter)
                tail = self._tail(indicator, content)
                if indicator.is_text:
                    texts[indicator.name] = self._text_request(indicator, prefix_ids, tail)
                else:
                    tails[indicator.name] = tail
                    calibrations[indicator.name] = content.calibration
            except DescantError as error:
                refused[indicator.name] = unanswered(indicator.name, str(error))
        request = ScoreRequest(prefix_ids, tuple(tails.values()), salt, priority, deadline_s)
        return ScorePlan(
            transcript,
            tuple(asked),
            tails,
            calibrations,
            refused,
            request if tails else None,
            {
                name: replace(text, salt=salt, priority=priority, deadline_s=deadline_s)
                for name, text in texts.items()
            },
        )

    def scorecard(
        self,
        plan: ScorePlan,
        outcome: ScoreResult | DescantError | None,
        time_s: float,
        texts: Mapping[str, Written] | None = None,
    ) -> Scorecard:
        """Put the engine's outcomes of a plan into words; None where nothing could be asked."""
        return to_scorecard(plan, outcome, time_s, texts or {}, self.tokenizer.decode)

    def _score_batch(
        self, batch: Sequence[Transcript], asked: Sequence[Indicator]
    ) -> Iterator[Scorecard]:
        started = self._clock()
        plans = [self.plan(transcript, asked) for transcript in batch]
        outcomes = iter(self.engine.run([p.request for p in plans if p.request is not None]))
        results = [None if plan.request is None else next(outcomes) for plan in plans]
        texts = self._texts(plans)
        share_s = (self._clock() - started) / len(batch)
        for plan, result, written in zip(plans, results, texts, strict=True):
            assert result is None or isinstance(result, ScoreResult | DescantError)
            yield self.scorecard(plan, result, share_s, written)

    def _texts(self, plans: Sequence[ScorePlan]) -> list[dict[str, Written]]:
        """Return what is written for each plan."""
        written: list[dict[str, Written]] = [{} for _ in plans]
        for names in zip_longest(*(plan.text_rounds() for plan in plans), fillvalue=()):
            asked = [(at, name) for at, own in enumerate(names) for name in own]
            outcomes = self.engine.run([plans[at].texts[name] for at, name in asked])
            for (at, name), outcome in zip(asked, outcomes, strict=True):
                assert isinstance(outcome, GenerateResult | DescantError)
                written[at][name] = outcome
        return written

    def _text_request(
        self, indicator: Indicator, prefix_ids: tuple[int, ...], tail: Tail
    ) -> GenerateRequest:
        assert indicator.max_tokens is not None, "an indicator says so itself"
        sampling = SamplingParams(indicator.max_tokens, 0.0, stop_token_ids=self.tokenizer.eos_ids)
        return GenerateRequest((*prefix_ids, *tail.token_ids), sampling, tail.adapter)

    def _tail(self, indicator: Indicator, content: FolderContent) -> Tail:
        if content.labels not in (None, indicator.labels):
            raise InvalidAdapter(
                f"Adapter {indicator.adapter!r} was trained on labels "
                f"{list(content.labels or ())}, not {list(indicator.labels)}.",
                field="labels",
            )
        token_ids = tuple(self.renderer.render_tail(indicator))
        invocation = content.adapter.invocation_tokens
        if invocation is not None and find_invocation(token_ids, invocation) is None:
            raise InvocationMissing(
                f"Adapter {indicator.adapter!r} is invoked by tokens {list(invocation)}, "
                f"which this model's template does not write.",
                remedy="Use the base model and chat template it was trained with.",
            )
        labels = tuple(map(tuple, self.renderer.render_labels(indicator.labels)))
        return Tail(token_ids, labels, content.adapter)

    def has_adapter(self, name: str) -> bool:
        """Return whether an adapter, or an alias such as ``polite@challenger``, is known."""
        try:
            self.library.entry(name)
        except AdapterNotFound:
            return False
        return True

    def adapter(self, name: str) -> LoraAdapter:
        """Return an adapter, loaded now if it was not before.

        Raises:
            AdapterNotFound: there is none of this name.
            InvalidAdapter: it cannot be loaded; names file and field.
        """
        return self._content(name).adapter

    def _content(self, name: str) -> FolderContent:
        if _is_path(name):
            if name not in self._by_path:
                self._by_path[name] = self._read_path(name)
            return self._by_path[name]
        try:
            return self.library.content(name)
        except AdapterNotFound:
            # It may have been trained since the folders were looked through.
            self.library.scan()
            return self.library.content(name)

    def _read_path(self, name: str) -> FolderContent:
        base = self._base
        load = partial(
            load_adapter,
            config=base.config,
            dtype=base.model.dtype,
            base_hash=base.base_hash,
            name=name,
            model=base.model,
        )
        return read_folder(load, resolve_adapter(name, ()))


def _is_path(name: str) -> bool:
    return len(Path(name).parts) != 1
