"""The gate from the command line: contestants from folders and files, the page on disk."""

from __future__ import annotations

import hashlib
import json
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from descant import __version__
from descant.cli.endpoints import Endpoints
from descant.cli.evaluate import check_apart
from descant.cli.loading import load_llm, read_rows
from descant.cli.terminal import Terminal
from descant.data import data_hash
from descant.distillation import Prices as TokenPrices
from descant.evaluation import (
    MEASURES,
    BagOfWords,
    Completer,
    NoiseFloor,
    Predictions,
    Task,
    noise_floor,
    run_task,
)
from descant.llm import LLM
from descant.registry import CONFIG_FILE, replacing
from descant.release import (
    Contestant,
    EndpointPlan,
    GatePolicy,
    GateResult,
    JudgedTexts,
    Provenance,
    identity_of,
    load_endpoint,
    read_labelled_pairs,
    read_measurement,
    read_recording,
    refusal_of,
    render_page,
    run_gate,
    text_pairs,
)
from descant.schema import Indicator, Scorecard, Transcript, load_indicators
from descant.schema.errors import InvalidConfig

BAG_OF_WORDS = "bag-of-words"


@dataclass(frozen=True)
class _OneAdapter:
    """Answers every indicator by the adapter in one folder; a completer."""

    llm: LLM
    folder: Path

    @property
    def content_hash(self) -> str:
        return self.llm.adapter(str(self.folder)).content_hash

    def score(self, transcript: Transcript, indicators: Sequence[Indicator]) -> Scorecard:
        """Return its answers."""
        own = [replace(each, adapter=str(self.folder)) for each in indicators]
        return self.llm.score(transcript, own)


class GateRun:
    """One policy, and what answers its task."""

    def __init__(
        self,
        terminal: Terminal,
        policy: GatePolicy,
        model: str,
        train: Path | None,
        endpoints: Endpoints,
        adapter: str | None = None,
    ):
        """Read the task; `train` is what a bag of words learns from, `endpoints` how those are asked.

        Of one `adapter`, only what it answers is asked.

        Raises:
            InvalidData: a conversation is both learned from and judged, or nothing is asked.
        """
        self.terminal, self.policy, self.model = terminal, policy, model
        self.endpoints = endpoints
        rows, indicators = read_rows(policy.task.data), load_indicators(policy.task.indicators)
        asked = [each for each in indicators if adapter in (None, each.adapter)]
        self.task = Task(policy.task.name, rows, asked)
        self.learned_from = None if train is None else read_rows(train)
        check_apart(self.task, self.learned_from or ())

    def judge(
        self, candidate: str, champion: str, rival: str | None, champion_twice: bool
    ) -> GateResult:
        """Run the task on each and decide."""
        prices = self.policy.prices
        self.endpoints.check((candidate, champion, rival))
        ours = self._contestant(candidate)
        theirs = self._contestant(champion, prices.champion_per_1000)
        third = None if rival is None else self._contestant(rival, prices.rival_per_1000)
        noise = self._noise(champion, theirs.predictions) if champion_twice else None
        judged = self._judged(ours.predictions, theirs.predictions)
        self.terminal.note("Comparing")
        return run_gate(self.policy, self.task, ours, theirs, third, noise, judged)

    def _judged(self, ours: Predictions, theirs: Predictions) -> JudgedTexts | None:
        """Have texts judged; by a judge that may not, nothing is asked or paid."""
        policy = self.policy.judge
        if policy.endpoint is None or policy.labels is None:
            return None
        if not any(indicator.is_text for indicator in self.task.indicators):
            return None
        plan, labelled = load_endpoint(policy.endpoint), read_labelled_pairs(policy.labels)
        found = read_measurement(policy.measurements, identity_of(plan, labelled), labelled)
        refusal = refusal_of(found, policy)
        if refusal is not None:
            return JudgedTexts(found, refusal, {})
        pairs, decided = text_pairs(self.task, ours, theirs)
        judged = self.endpoints.judge(self.terminal, plan, list(pairs.values()))
        return JudgedTexts(found, None, dict(zip(pairs, judged, strict=True)) | decided)

    def write(self, result: GateResult, page: Path) -> None:
        """Write the page and its twin, each whole or not at all."""
        provenance = Provenance(
            datetime.now(tz=UTC).date().isoformat(), __version__, platform.machine()
        )
        twin = json.dumps(result.to_json(), indent=1) + "\n"
        for path, text in (
            (page, render_page(result, tuple(self.task.indicators), provenance)),
            (page.with_suffix(".json"), twin),
        ):
            with replacing(path) as file:
                file.write(text.encode())

    def _contestant(self, source: str, money_per_1000: float | None = None) -> Contestant:
        self.terminal.note(f"Asking {source}")
        plan = self.endpoints.plan(source)
        if plan is not None:
            return self._endpoint(source, plan, money_per_1000)
        completer, identity, runs_here = self._completer(source)
        predictions, seconds = self._predictions(completer)
        if not runs_here:
            return Contestant(source, identity, predictions, None, money_per_1000)
        per_hour = self.policy.prices.machine_per_hour
        money = money_per_1000 if per_hour is None else per_hour * seconds * 1000 / 3600
        return Contestant(source, identity, predictions, seconds, money)

    def _endpoint(
        self, source: str, plan: EndpointPlan, money_per_1000: float | None
    ) -> Contestant:
        said = self.endpoints.ask(self.terminal, plan, self.task)
        if plan.prices != TokenPrices():
            money_per_1000 = float(said.figures.money) * 1000 / len(self.task.rows)
        return Contestant(
            source,
            said.identity,
            run_task(self.task, said),
            said.figures.conversation_s,
            money_per_1000,
            said.figures,
        )

    def _predictions(self, completer: Completer) -> tuple[Predictions, float]:
        started = time.perf_counter()
        with self.terminal.progress("Asking", "conversations") as advance:
            predictions = run_task(self.task, completer, advance)
        return predictions, (time.perf_counter() - started) / len(self.task.rows)

    def _completer(self, source: str) -> tuple[Completer, str, bool]:
        """Return who answers, by what it is known, and whether it runs on this machine."""
        path = Path(source)
        if source == BAG_OF_WORDS:
            return self._bag_of_words()
        if path.is_file():
            recording = read_recording(path)
            return recording, recording.identity, False
        if (path / CONFIG_FILE).is_file():
            alone = _OneAdapter(LLM(self.model), path)
            return alone, f"adapter {alone.content_hash}", True
        llm = load_llm(self.terminal, self.model, path)
        hashes = sorted(f"{each.name}@{each.content_hash}" for each in llm.load_adapters())
        whole = hashlib.sha256("\n".join([llm.base_hash, *hashes]).encode()).hexdigest()
        return llm, f"sha256:{whole}", True

    def _bag_of_words(self) -> tuple[Completer, str, bool]:
        if self.learned_from is None:
            raise InvalidConfig(
                "A bag-of-words has to learn from something.",
                field="train",
                remedy="Name labelled conversations with --train.",
            )
        fitted = BagOfWords.fit(self.learned_from, self.task.indicators)
        return fitted, f"bag-of-words learned from {data_hash(self.learned_from)}", True

    def _noise(self, source: str, first: Predictions) -> NoiseFloor | None:
        second = self._asked_again(source)
        measure = MEASURES[self.policy.release.measure]
        return noise_floor(self.task.indicators, first, second, measure)

    def _asked_again(self, source: str) -> Predictions:
        plan = self.endpoints.plan(source)
        if plan is not None:
            return run_task(self.task, self.endpoints.ask(self.terminal, plan, self.task, "again"))
        completer, _, _ = self._completer(source)
        return self._predictions(completer)[0]
