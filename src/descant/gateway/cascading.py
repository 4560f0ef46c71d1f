"""Cascades over HTTP: each stage is an exchange with upstreams, and all of them have one bill."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import orjson

from descant.gateway.cache import replay_stream
from descant.gateway.call import Call, Usage
from descant.gateway.cascade import (
    Cascade,
    CascadeAnswer,
    CascadeConfig,
    ReviewQueue,
    StageAnswer,
    Thresholds,
    load_thresholds,
)
from descant.gateway.exchange import Exchange
from descant.gateway.reply import AnyReply, StreamedReply, Tally, WholeReply, one_piece
from descant.gateway.upstream import Upstream
from descant.gateway.watching import RequestSpan
from descant.schema.errors import InputError, UpstreamFailed


@dataclass(frozen=True)
class ReadyCascade:
    """One cascade of the settings."""

    cascade: Cascade
    models: tuple[str, ...]
    queue: ReviewQueue | None


class Cascading:
    """The cascades of one version of the settings, by the model that callers name."""

    def __init__(
        self,
        ready: Mapping[str, ReadyCascade],
        exchange: Exchange,
        fleet: Mapping[str, Upstream],
    ):
        self._ready = ready
        self._exchange = exchange
        self._fleet = fleet

    def models(self, model: str) -> tuple[str, ...]:
        """Return the models that may be asked for this one: its stages, or itself."""
        ready = self._ready.get(model)
        return (model,) if ready is None else ready.models

    def has(self, model: str) -> bool:
        """Return whether a cascade stands behind this name."""
        return model in self._ready

    async def ask(self, call: Call, tally: Tally, span: RequestSpan) -> AnyReply:
        """Return the first answer that is sure enough.

        Raises:
            DescantError: see `Cascade.run`.
        """
        ready = self._ready[call.model]

        async def ask(stage: Call, model: str) -> StageAnswer:
            return await self._stage(stage, tally, span)

        answer = await ready.cascade.run(call, ask)
        tally.stages = tuple(step.model for step in answer.steps)
        if answer.needs_review and ready.queue is not None:
            ready.queue.append(call, answer.body, answer.needs_review)
        return _reply(call, answer, tally.upstream or "")

    async def _stage(self, call: Call, tally: Tally, span: RequestSpan) -> StageAnswer:
        own = Tally(timings=tally.timings)
        try:
            reply = await self._exchange.ask(call, own, span)
        finally:
            self._add(tally, own)
        if not isinstance(reply, WholeReply):
            await reply.close()
            raise UpstreamFailed("A stage of a cascade was answered by a stream.")
        if reply.status != 200:
            raise InputError(f"{call.model} refused the request: status {reply.status}.")
        usage = reply.usage or Usage()
        return StageAnswer(orjson.loads(reply.body), usage, self._money_nano(own))

    def _add(self, tally: Tally, stage: Tally) -> None:
        """Put a stage on the bill, also of a cascade that has no answer in the end."""
        tally.visited += stage.visited
        tally.lost += stage.lost
        tally.upstream, tally.adapters = stage.upstream or tally.upstream, stage.adapters
        tally.first_byte_s = tally.first_byte_s or stage.first_byte_s
        if stage.usage is not None:
            tally.usage = (tally.usage or Usage()) + stage.usage
            tally.money_nano = (tally.money_nano or 0) + self._money_nano(stage)

    def _money_nano(self, stage: Tally) -> int:
        if stage.upstream is None or stage.usage is None:
            return 0
        return self._fleet[stage.upstream].prices.money_nano(stage.usage)


def ready_cascades(
    configs: Mapping[str, CascadeConfig], clock: Callable[[], float]
) -> dict[str, ReadyCascade]:
    """Return the cascades, their files read.

    Raises:
        InvalidConfig: a file that one of them names is wrong.
        MissingDependency: schemas are to be checked, and the package for it is not installed.
    """
    return {name: _made(config, clock) for name, config in configs.items()}


def _made(config: CascadeConfig, clock: Callable[[], float]) -> ReadyCascade:
    thresholds = Thresholds() if config.thresholds is None else load_thresholds(config.thresholds)
    queue = None if config.review_file is None else ReviewQueue(config.review_file)
    return ReadyCascade(Cascade(config, thresholds, clock), tuple(config.stages), queue)


def _reply(call: Call, answer: CascadeAnswer, upstream: str) -> AnyReply:
    body = orjson.dumps(answer.body)
    if not call.is_stream:
        return WholeReply(200, body, answer.usage, upstream)
    options = call.body.get("stream_options") or {}
    return StreamedReply(
        one_piece(replay_stream(body, options.get("include_usage") is True)), upstream
    )
