"""Requests, policies and engines on one virtual clock: the same seed gives the same figures."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import inf

from benchmarks.gateway.goodput.engine import Engine, EngineEvents, Hardware
from benchmarks.gateway.goodput.policies import Policy
from benchmarks.gateway.goodput.workload import Request, Session, Traffic, prompt_tokens, sessions

POLL_S = 1.0
POLL_DELAY_S = 0.05


@dataclass(frozen=True)
class Slo:
    """When an answer was good: both must hold."""

    first_token_s: float = 1.0
    token_s: float = 0.050
    """Mean time from one token to the next."""

    def is_met(self, request: Request) -> bool:
        """Return whether an answer came in time; one that did not come, did not."""
        if request.first_token_s is None or request.finished_s is None:
            return False
        writing_s = request.finished_s - request.first_token_s
        return (
            request.first_token_s - request.arrived_s <= self.first_token_s
            and writing_s <= self.token_s * max(1, request.answer_tokens - 1)
        )


@dataclass(frozen=True)
class World:
    """What is simulated; nothing counts that arrives before `warm_up_s`."""

    traffic: Traffic = Traffic()
    hardware: Hardware = Hardware()
    slo: Slo = Slo()
    engines: int = 4
    warm_up_s: float = 120.0
    measured_s: float = 120.0
    after_s: float = 30.0
    """How long answers are waited for in the end."""

    @property
    def names(self) -> tuple[str, ...]:
        """Return the upstreams' names."""
        return tuple(f"engine-{number}" for number in range(self.engines))


class Simulation:
    """One run; `policy_of(clock)` makes the policy."""

    def __init__(self, world: World, policy_of: Callable[[Callable[[], float]], Policy]):
        self.now_s = 0.0
        self.num_late = 0
        """Measured requests whose first token came too late."""
        self.requests: list[Request] = []
        self._world = world
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._scheduled = 0
        self._policy = policy_of(lambda: self.now_s)
        events = EngineEvents(self._schedule, self._first_token, self._finished)
        system_tokens = world.traffic.system_tokens
        self.engines = {name: Engine(world.hardware, system_tokens, events) for name in world.names}

    def run(self, requests_per_s: float, seed: int, most_late: float = inf) -> bool:
        """Run to the end, or until more than `most_late` are late; return whether it was the end."""
        world = self._world
        until_s = world.warm_up_s + world.measured_s
        self._await_session(sessions(world.traffic, requests_per_s, until_s, seed))
        for place, name in enumerate(world.names):
            self._schedule(POLL_S * (1 + place / world.engines), self._polling(name))
        while self._queue and self._queue[0][0] <= until_s + world.after_s:
            self.now_s, _, act = heapq.heappop(self._queue)
            act()
            if self.num_late > most_late:
                return False
        return True

    def _schedule(self, time_s: float, act: Callable[[], None]) -> None:
        self._scheduled += 1
        heapq.heappush(self._queue, (time_s, self._scheduled, act))

    def _await_session(self, coming: Iterator[Session]) -> None:
        session = next(coming, None)
        if session is not None:
            self._schedule(session.begins_s, lambda: self._begin(session, coming))

    def _begin(self, session: Session, coming: Iterator[Session]) -> None:
        self._ask(session, 0)
        self._await_session(coming)

    def _ask(self, session: Session, turn: int) -> None:
        tokens = prompt_tokens(self._world.traffic, session, turn)
        request = Request(len(self.requests), session, turn, tokens, self.now_s)
        self.requests.append(request)
        self.engines[self._policy.send(request)].submit(request, self.now_s)

    def _first_token(self, request: Request, now_s: float) -> None:
        request.first_token_s = now_s
        is_late = now_s - request.arrived_s > self._world.slo.first_token_s
        self.num_late += is_late and request.arrived_s >= self._world.warm_up_s
        self._policy.first_token(request, now_s)

    def _finished(self, request: Request, now_s: float) -> None:
        request.finished_s = now_s
        self._policy.finished(request)
        session, turn = request.session, request.turn + 1
        if turn < len(session.turns):
            self._schedule(now_s + session.turns[turn].thought_s, lambda: self._ask(session, turn))

    def _polling(self, name: str) -> Callable[[], None]:
        def poll() -> None:
            text = metrics_text(self.engines[name])
            take_s = self.now_s + POLL_DELAY_S
            self._schedule(take_s, lambda: self._policy.take_metrics(name, text))
            self._schedule(self.now_s + POLL_S, poll)

        return poll


def metrics_text(engine: Engine) -> str:
    """Return what the engine says of itself, as vLLM writes it."""
    running = ",".join(f"adapter-{number}" for number in engine.running_adapters)
    waiting = ",".join(f"adapter-{number}" for number in engine.waiting_adapters)
    slots = engine.hardware.adapter_slots
    return (
        f'vllm:num_requests_running{{model_name="base"}} {engine.num_running}\n'
        f'vllm:num_requests_waiting{{model_name="base"}} {engine.num_waiting}\n'
        f'vllm:kv_cache_usage_perc{{model_name="base"}} {engine.kv_use}\n'
        f'vllm:lora_requests_info{{max_lora="{slots}",running_lora_adapters="{running}",'
        f'waiting_lora_adapters="{waiting}"}} 1.0\n'
    )
