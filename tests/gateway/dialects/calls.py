"""Calls and upstreams as the tests need them."""

from __future__ import annotations

from typing import Any

import orjson

from descant.gateway import Call, Caller, Operation
from descant.gateway.config import DialectName, UpstreamConfig
from descant.gateway.dialects import Dialect, StreamReader, dialect_of

KEY = "sk-upstream-0123456789"
HOST = "upstream.example"
NOW_S = 1_700_000_000.9


def call_of(
    body: dict[str, Any] | bytes, operation: Operation = "chat", max_tokens: int = 100
) -> Call:
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    parsed = orjson.loads(raw)
    return Call(
        id="request-1",
        operation=operation,
        model=parsed.get("model", "polite"),
        body=parsed,
        raw=raw,
        caller=Caller("key", "tenant"),
        prompt_tokens=10,
        max_tokens=max_tokens,
        is_stream=parsed.get("stream") is True,
        received_s=0.0,
        deadline_s=10.0,
    )


def chat(**fields: Any) -> Call:
    messages = [{"role": "user", "content": "Hello"}]
    return call_of({"model": "polite", "messages": messages, **fields})


def speaking(name: DialectName, path: str = "", api_version: str | None = None) -> Dialect:
    config = UpstreamConfig(f"https://{HOST}{path}", name, api_version=api_version)
    return dialect_of(config, KEY, lambda: NOW_S)


def run_whole(reader: StreamReader, stream: bytes) -> bytes:
    return reader.feed(stream) + reader.end()


def run_chopped(reader: StreamReader, stream: bytes, cuts: list[int]) -> bytes:
    places = sorted({min(cut, len(stream)) for cut in cuts} | {0, len(stream)})
    pieces = [stream[begin:end] for begin, end in zip(places, places[1:], strict=False)]
    return b"".join([*map(reader.feed, pieces), reader.end()])


def events(sent: bytes) -> list[Any]:
    """Return what a caller reads from a stream."""
    found = [line[6:] for line in sent.split(b"\n\n") if line.startswith(b"data: ")]
    return [each if each == b"[DONE]" else orjson.loads(each) for each in found]
