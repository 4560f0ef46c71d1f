"""One call → the upstreams that can answer it, in the order in which they should be asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from descant.gateway.call import Call, Usage
from descant.gateway.config import GatewayConfig, Order, RouteConfig
from descant.gateway.routing.affinity import bound, homes, key_of
from descant.gateway.routing.deal import Deal, deal
from descant.gateway.routing.eligibility import Eligibility
from descant.gateway.routing.expected_tokens import ExpectedTokens, expected_cost
from descant.gateway.routing.leading_text import opening_text
from descant.gateway.routing.load_score import Standing, by_load
from descant.gateway.routing.load_view import LoadView
from descant.gateway.routing.prefix_index import Chain, PrefixIndex, chain_of
from descant.gateway.routing.residency import Residency
from descant.gateway.routing.route_table import RouteTable
from descant.gateway.routing.smooth_weights import SmoothWeights


@dataclass(frozen=True, slots=True)
class Candidate:
    """An upstream that can answer a call."""

    upstream: str
    model: str
    """What the model is called there."""
    priority: int
    chain: Chain
    """What it would have read of the prompt after this call."""


class Memory:
    """What routing has learned; it outlives a change of the settings."""

    def __init__(self, clock: Callable[[], float]):
        self.view = LoadView(clock)
        self.residency = Residency()
        self.prefixes = PrefixIndex()
        self.weights = SmoothWeights()
        self.expected = ExpectedTokens()

    def adopt(self, config: GatewayConfig) -> None:
        """Follow the upstreams of these settings, and forget all others."""
        for part in (self.view, self.residency, self.prefixes):
            part.keep(config.upstreams)
        for name, upstream in config.upstreams.items():
            self.view.watch(name, upstream.poll_metrics)
            self.residency.watch(name, upstream.adapter_slots)


class Router:
    """Orders upstreams for calls, and learns from what becomes of them.

    It never asks anybody: what it knows is in memory, and a call costs time in proportion to its
    route's upstreams and to the beginning of its prompt.
    """

    def __init__(self, config: GatewayConfig, memory: Memory, wall_clock: Callable[[], float]):
        """`wall_clock` is Unix time, for the hours of the day."""
        self.memory = memory
        self._config = config
        self._wall_clock = wall_clock
        self._routes = RouteTable(config.routes)
        self._eligibility = Eligibility(config.upstreams)
        memory.adopt(config)

    def route(self, model: str) -> RouteConfig:
        """Return the route of a model.

        Raises:
            ModelNotFound: there is none.
        """
        return self._routes.route(model)

    def route_name(self, model: str) -> str:
        """Return the name of a model's route.

        Raises:
            ModelNotFound: there is none.
        """
        return self._routes.name(model)

    def deal(self, call: Call) -> Deal:
        """Return who answers a call, the model or its canary, and which shadow is asked too."""
        return deal(call, self.route(call.model))

    def candidates(self, call: Call) -> list[Candidate]:
        """Return all upstreams that can answer, those to be asked first in front.

        Lower priorities come before higher ones, whatever their load: who is to be passed over,
        because of a cooldown or a limit, is for the caller to say.

        Raises:
            ModelNotFound: no route fits, or no upstream of it serves the model.
            ContextTooLong: no upstream takes so many tokens.
            TooBusy: all are closed at this time of day.
        """
        route = self.route(call.model)
        names = self._eligibility.of(call, route.upstreams, self._wall_clock())
        if len(names) == 1:
            # Nothing is to be chosen, so nobody looks at the prompt.
            (name,) = names
            return [Candidate(name, self._model_at(name, call), self._priority(name), ())]
        chain = chain_of(call)
        ordered: list[str] = []
        for priority in sorted({self._priority(name) for name in names}):
            group = [name for name in names if self._priority(name) == priority]
            ordered += self._ordered(route.order, group, call, chain)
        return [
            Candidate(name, self._model_at(name, call), self._priority(name), chain)
            for name in ordered
        ]

    def sent(self, candidate: Candidate, call: Call) -> None:
        """Take note that a call goes to an upstream; `done` must follow."""
        self.memory.view.sent(candidate.upstream, call)
        self.memory.residency.sent(candidate.upstream, candidate.model)
        self.memory.prefixes.sent(candidate.upstream, candidate.chain)

    def first_byte(self, candidate: Candidate, latency_s: float) -> None:
        """Take note that an answer has begun."""
        self.memory.view.first_byte(candidate.upstream, latency_s)
        self.memory.residency.answered(candidate.upstream, candidate.model)

    def done(self, candidate: Candidate, call: Call, usage: Usage | None = None) -> None:
        """Take note that a call is over there, however it ended; `usage` if it was answered."""
        self.memory.view.done(candidate.upstream, call)
        if usage is not None:
            self.memory.expected.answered(call.model, usage)

    def _ordered(self, order: Order, group: list[str], call: Call, chain: Chain) -> list[str]:
        if order == "weight":
            weights = {name: self._config.upstreams[name].weight for name in group}
            return self.memory.weights.order(call.model, weights)
        if order == "latency":
            return self._by_latency(group)
        if order == "cost":
            return self._by_cost(group, call, chain)
        return by_load(self._standings(group, call, chain))

    def _by_latency(self, group: Sequence[str]) -> list[str]:
        """Order by first byte times requests in flight: the quickest is not buried in requests."""
        view = self.memory.view
        latencies_s = view.latencies_s(group)
        waits = {name: view.in_flight(name) + 1 for name in group}
        return sorted(group, key=lambda name: (latencies_s[name] * waits[name], waits[name]))

    def _by_cost(self, group: Sequence[str], call: Call, chain: Chain) -> list[str]:
        write_tokens = self.memory.expected.to_write(call)
        costs = {
            name: expected_cost(
                self._config.upstreams[name],
                call,
                write_tokens,
                self.memory.prefixes.shared(name, chain),
            )
            for name in group
        }
        standings = self._standings(group, call, chain)
        return sorted(group, key=lambda name: (costs[name], standings[name].score))

    def _standings(self, group: Sequence[str], call: Call, chain: Chain) -> dict[str, Standing]:
        memory, upstreams = self.memory, self._config.upstreams
        in_flight = {name: memory.view.in_flight(name) for name in group}
        total = sum(in_flight.values())
        weights = sum(upstreams[name].weight for name in group)
        ranks = {name: rank / len(group) for rank, name in enumerate(self._homes(group, call))}
        return {
            name: Standing(
                in_flight=in_flight[name],
                bound=bound(total, upstreams[name].weight / weights),
                concurrency=upstreams[name].concurrency,
                strain=memory.view.strain(name),
                residency=memory.residency.score(name, self._model_at(name, call)),
                shared=memory.prefixes.shared(name, chain),
                home_rank=ranks[name],
            )
            for name in group
        }

    def _homes(self, group: Sequence[str], call: Call) -> list[str]:
        """Order by home: an adapter's where it takes a slot, else the conversation's."""
        if any(self.memory.residency.has_slots(n, self._model_at(n, call)) for n in group):
            return homes(key_of(call.model.encode()), group)
        return homes(key_of(opening_text(call)), group)

    def _priority(self, name: str) -> int:
        return self._config.upstreams[name].priority

    def _model_at(self, name: str, call: Call) -> str:
        return self._config.upstreams[name].names.get(call.model, call.model)
