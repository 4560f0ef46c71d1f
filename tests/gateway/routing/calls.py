"""Calls and settings that the tests of routing share."""

from __future__ import annotations

from typing import Any

from descant.gateway.call import Call, Caller, Operation
from descant.gateway.config import GatewayConfig, RouteConfig, UpstreamConfig
from descant.gateway.routing import Memory, Router


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self, now_s: float = 1_000.0):
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


def call(
    number: int = 0,
    model: str = "polite",
    text: str = "Hello.",
    *,
    max_tokens: int = 100,
    tenant: str = "quality",
) -> Call:
    return raw_call(
        "chat",
        {"messages": [{"role": "user", "content": text}]},
        call_id=f"call-{number}",
        model=model,
        max_tokens=max_tokens,
        tenant=tenant,
    )


def raw_call(operation: Operation, body: dict[str, Any], **fields: Any) -> Call:
    return Call(
        id=fields.get("call_id", "call"),
        operation=operation,
        model=fields.get("model", "polite"),
        body=body,
        raw=b"",
        caller=Caller("key", fields.get("tenant", "quality")),
        prompt_tokens=fields.get("prompt_tokens", 100),
        max_tokens=fields.get("max_tokens", 100),
        is_stream=False,
        received_s=0.0,
        deadline_s=600.0,
    )


def upstream(**fields: Any) -> UpstreamConfig:
    return UpstreamConfig("http://127.0.0.1:8000", **fields)


def router_of(
    upstreams: dict[str, UpstreamConfig], clock: Clock | None = None, **route: Any
) -> Router:
    config = GatewayConfig(upstreams, {"*": RouteConfig(tuple(upstreams), **route)})
    clock = clock or Clock()
    return Router(config, Memory(clock), clock)


def names(router: Router, asked: Call) -> list[str]:
    return [candidate.upstream for candidate in router.candidates(asked)]
