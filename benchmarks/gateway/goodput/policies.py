"""Who is asked next. No policy sees more than a gateway does.

That is: what it sent itself, first bytes and ends as they come, and polls of the engines' metrics,
once a second, 50 ms old when they arrive, in the text that vLLM writes. None knows how long an answer
will be, what a cache holds, or what another worker does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from benchmarks.gateway.goodput.workload import TOKEN_BYTES, Request, Traffic

from descant.gateway.call import Call, Caller
from descant.gateway.config import GatewayConfig, RouteConfig, UpstreamConfig
from descant.gateway.routing import Candidate, Memory, Router, read_figures

MAX_TOKENS = 600


class Policy(Protocol):
    """Chooses an upstream, and hears what becomes of it."""

    def send(self, request: Request) -> str: ...  # noqa: D102
    def first_token(self, request: Request, now_s: float) -> None: ...  # noqa: D102
    def finished(self, request: Request) -> None: ...  # noqa: D102
    def take_metrics(self, upstream: str, text: str) -> None: ...  # noqa: D102


class RoundRobin:
    """One after the other."""

    def __init__(self, upstreams: Sequence[str]):
        self._upstreams = upstreams
        self._sent = 0

    def send(self, request: Request) -> str:
        """Return the next one."""
        self._sent += 1
        return self._upstreams[self._sent % len(self._upstreams)]

    def first_token(self, request: Request, now_s: float) -> None:
        """Learn nothing."""

    def finished(self, request: Request) -> None:
        """Learn nothing."""

    def take_metrics(self, upstream: str, text: str) -> None:
        """Learn nothing."""


class LeastInFlight:
    """The one with the fewest requests under way; of equals, the next in turn."""

    def __init__(self, upstreams: Sequence[str]):
        self._in_flight = dict.fromkeys(upstreams, 0)
        self._sent_to: dict[int, str] = {}

    def send(self, request: Request) -> str:
        """Return the least busy one."""
        upstream = min(self._in_flight, key=lambda name: self._in_flight[name])
        # Behind its equals: the first of them is not always asked.
        self._in_flight[upstream] = self._in_flight.pop(upstream) + 1
        self._sent_to[request.number] = upstream
        return upstream

    def first_token(self, request: Request, now_s: float) -> None:
        """Learn nothing."""

    def finished(self, request: Request) -> None:
        """Count it no longer."""
        self._in_flight[self._sent_to.pop(request.number)] -= 1

    def take_metrics(self, upstream: str, text: str) -> None:
        """Learn nothing."""


class Routed:
    """The gateway's own router, by load."""

    def __init__(self, upstreams: Sequence[str], traffic: Traffic, clock: Callable[[], float]):
        polled = UpstreamConfig("http://127.0.0.1:8000", dialect="vllm", poll_metrics=True)
        config = GatewayConfig(
            dict.fromkeys(upstreams, polled), {"*": RouteConfig(tuple(upstreams))}
        )
        self._router = Router(config, Memory(clock), clock)
        self._traffic = traffic
        self._sent: dict[int, tuple[Candidate, Call]] = {}

    def send(self, request: Request) -> str:
        """Return the first candidate."""
        call = _call(request, self._traffic)
        candidate = self._router.candidates(call)[0]
        self._router.sent(candidate, call)
        self._sent[request.number] = (candidate, call)
        return candidate.upstream

    def first_token(self, request: Request, now_s: float) -> None:
        """Tell the router."""
        self._router.first_byte(self._sent[request.number][0], now_s - request.arrived_s)

    def finished(self, request: Request) -> None:
        """Tell the router."""
        self._router.done(*self._sent.pop(request.number))

    def take_metrics(self, upstream: str, text: str) -> None:
        """Tell the router, as its poller does."""
        figures = read_figures(text)
        if figures is not None:
            self._router.memory.view.take(upstream, figures)
            self._router.memory.residency.take(upstream, figures)


class Workers:
    """Several gateway processes that share nothing; a request may come to any of them."""

    def __init__(self, policies: Sequence[Policy]):
        self._policies = policies

    def send(self, request: Request) -> str:
        """Ask the worker that the request came to."""
        return self._of(request).send(request)

    def first_token(self, request: Request, now_s: float) -> None:
        """Tell that worker alone."""
        self._of(request).first_token(request, now_s)

    def finished(self, request: Request) -> None:
        """Tell that worker alone."""
        self._of(request).finished(request)

    def take_metrics(self, upstream: str, text: str) -> None:
        """Tell all: each polls for itself."""
        for policy in self._policies:
            policy.take_metrics(upstream, text)

    def _of(self, request: Request) -> Policy:
        # By a multiplicative hash: turns of a session come to any worker, in no pattern.
        return self._policies[(request.number * 2654435761 >> 16) % len(self._policies)]


def _call(request: Request, traffic: Traffic) -> Call:
    """Return the request as the gateway would have read it."""
    return Call(
        id=str(request.number),
        operation="chat",
        model=f"adapter-{request.session.adapter}",
        body={"messages": _messages(request, traffic), "max_tokens": MAX_TOKENS},
        raw=b"",
        caller=Caller("key", "tenant"),
        prompt_tokens=request.prompt_tokens,
        max_tokens=MAX_TOKENS,
        is_stream=True,
        received_s=request.arrived_s,
        deadline_s=request.arrived_s + 600,
    )


def _messages(request: Request, traffic: Traffic) -> list[dict[str, Any]]:
    session = request.session
    messages = [
        {"role": "system", "content": _text(f"a{session.adapter}", traffic.system_tokens)},
        {"role": "user", "content": _text(f"s{session.number}", session.transcript_tokens)},
    ]
    for place, turn in enumerate(session.turns[: request.turn + 1]):
        name = f"s{session.number}.{place}"
        messages.append({"role": "user", "content": _text(f"q{name}", turn.question_tokens)})
        if place < request.turn:
            answer = _text(f"a{name}", turn.answer_tokens)
            messages.append({"role": "assistant", "content": answer})
    return messages


def _text(name: str, tokens: int) -> str:
    """Return words that stand in no other text."""
    length = tokens * TOKEN_BYTES
    return (f"{name} " * (length // len(name) + 1))[:length]
