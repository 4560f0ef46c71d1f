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
from descant.gateway.exchange import AnyReply, Exchange
from descant.gateway.reply import StreamedReply, Tally, WholeReply, one_piece
from descant.gateway.upstream import Upstream
from descant.gateway.watching import RequestSpan
from descant.schema.errors import InputError, UpstreamFailed


@dataclass(frozen=True)
class _Ready:
    """One cascade of the settings."""

    cascade: Cascade
    models: tuple[str, ...]
    queue: ReviewQueue | None


class Cascading:
    """The cascades of one version of the settings, by the model that callers name.

    Raises:
        InvalidConfig: a file that one of them names is wrong.
        MissingDependency: schemas are to be checked, and the package for it is not installed.
    """

    def __init__(
        self,
        configs: Mapping[str, CascadeConfig],
        exchange: Exchange,
        fleet: Mapping[str, Upstream],
        clock: Callable[[], float],
    ):
        self._ready = {name: _made(config, clock) for name, config in configs.items()}
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
        tally.usage, tally.money_nano = answer.usage, answer.cost_nano
        tally.stages = tuple(step.model for step in answer.steps)
        if answer.needs_review and ready.queue is not None:
            ready.queue.append(call, answer.body, answer.needs_review)
        return _reply(call, answer, tally.upstream or "")

    async def _stage(self, call: Call, tally: Tally, span: RequestSpan) -> StageAnswer:
        own = Tally(timings=tally.timings)
        try:
            reply = await self._exchange.ask(call, own, span)
        finally:
            tally.visited += own.visited
            tally.upstream, tally.adapters = own.upstream, own.adapters
            tally.first_byte_s = tally.first_byte_s or own.first_byte_s
        if not isinstance(reply, WholeReply):
            await reply.close()
            raise UpstreamFailed("A stage of a cascade was answered by a stream.")
        if reply.status != 200:
            raise InputError(f"{call.model} refused the request: status {reply.status}.")
        usage = reply.usage or Usage()
        money_nano = self._fleet[reply.upstream].prices.money_nano(usage)
        return StageAnswer(orjson.loads(reply.body), usage, money_nano)


def _made(config: CascadeConfig, clock: Callable[[], float]) -> _Ready:
    thresholds = Thresholds() if config.thresholds is None else load_thresholds(config.thresholds)
    queue = None if config.review_file is None else ReviewQueue(config.review_file)
    return _Ready(Cascade(config, thresholds, clock), tuple(config.stages), queue)


def _reply(call: Call, answer: CascadeAnswer, upstream: str) -> AnyReply:
    body = orjson.dumps(answer.body)
    if not call.is_stream:
        return WholeReply(200, body, answer.usage, upstream)
    options = call.body.get("stream_options") or {}
    return StreamedReply(
        one_piece(replay_stream(body, options.get("include_usage") is True)), upstream
    )
