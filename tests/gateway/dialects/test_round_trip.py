"""From a call to an answer, through real servers that speak a provider's dialect on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from aiohttp import web

from descant.gateway import Call, Usage
from descant.gateway.config import DialectName, UpstreamConfig
from descant.gateway.dialects import StreamReader, dialect_of
from descant.gateway.upstream_address import parse_address
from descant.gateway.upstream_connector import open_session, send

from .calls import KEY, chat, events

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
WORDS = ["Hé", "llo\n\n", " there"]


async def anthropic(request: web.Request) -> web.StreamResponse:
    """Speak as Anthropic does: refuse what it would, then repeat what was said."""
    body = await request.json()
    roles = [turn["role"] for turn in body["messages"]]
    is_right = request.path == "/v1/messages" and request.headers["x-api-key"] == KEY
    if not is_right or roles != ["user", "assistant", "user"] or "max_tokens" not in body:
        error = {"type": "invalid_request_error", "message": f"wrong: {KEY}"}
        return web.json_response({"type": "error", "error": error}, status=400)
    start = {"id": "m", "model": body["model"], "usage": {"input_tokens": 4, "output_tokens": 0}}
    said: list[dict[str, Any]] = [{"type": "message_start", "message": start}]
    for word in WORDS:
        said.append({"type": "content_block_delta", "delta": {"type": "text_delta", "text": word}})
    usage = {"output_tokens": 3}
    said.append({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage})
    said.append({"type": "message_stop"})
    return await streamed(request, [b"data: " + orjson.dumps(each) + b"\n\n" for each in said])


async def openai(request: web.Request) -> web.StreamResponse:
    """Speak as OpenAI does: the usage only where it is asked for."""
    body = await request.json()
    if request.headers["authorization"] != f"Bearer {KEY}":
        return web.json_response({"error": {"message": f"Incorrect API key: {KEY}"}}, status=401)
    deltas = [{"choices": [{"index": 0, "delta": {"content": word}}]} for word in WORDS]
    if body.get("stream_options", {}).get("include_usage"):
        usage = {"prompt_tokens": 4, "completion_tokens": 3}
        deltas.append({"choices": [], "usage": usage})  # type: ignore[dict-item]
    lines = [b"data: " + orjson.dumps(each) + b"\n\n" for each in deltas]
    return await streamed(request, [*lines, b"data: [DONE]\n\n"])


async def half_closing(request: web.Request) -> web.StreamResponse:
    return await streamed(request, [b'data: {"choices":[]}\n\n', b'data: {"cho'])


async def streamed(request: web.Request, lines: list[bytes]) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await response.prepare(request)
    whole = b"".join(lines)
    for begin in range(0, len(whole), 11):  # Never where an event ends.
        await response.write(whole[begin : begin + 11])
        await asyncio.sleep(0)
    return response


@asynccontextmanager
async def served(answer: Answer) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def ask(answer: Answer, name: DialectName, call: Call) -> tuple[bytes, StreamReader]:
    async with served(answer) as url:
        dialect = dialect_of(UpstreamConfig(url, name), KEY)
        request, reader = dialect.request(call, "there"), dialect.stream(call)
        address = parse_address(url)
        async with (
            open_session(UpstreamConfig(url)) as session,
            send(session, address, request) as response,
        ):
            if response.status != 200:
                body = await response.read()
                return dialect.refusal(response.status, response.headers, body), reader
            passed = [reader.feed(piece) async for piece in response.content.iter_any()]
            return b"".join([*passed, reader.end()]), reader


def conversation() -> list[dict[str, Any]]:
    said = [("system", "Be kind."), ("user", "a"), ("user", "b"), ("assistant", "c"), ("user", "d")]
    return [{"role": role, "content": content} for role, content in said]


@pytest.mark.parametrize(("name", "answer"), [("openai", openai), ("anthropic", anthropic)])
def test_a_streamed_answer_is_what_was_said(name: DialectName, answer: Answer) -> None:
    call = chat(messages=conversation(), stream=True)
    sent, reader = asyncio.run(ask(answer, name, call))
    chunks = events(sent)
    assert chunks.pop() == b"[DONE]"
    said = [choice["delta"].get("content", "") for chunk in chunks for choice in chunk["choices"]]
    assert "".join(said) == "".join(WORDS)
    assert all(chunk["choices"] for chunk in chunks)
    assert reader.usage == Usage(4, 3)
    assert reader.is_complete


def test_a_half_closed_stream_is_told_from_a_whole_one() -> None:
    sent, reader = asyncio.run(ask(half_closing, "vllm", chat(stream=True)))
    assert reader.failure is not None and reader.failure.reason == "cut"
    assert events(sent)[-1]["error"]["code"] == "stream_cut"


def test_a_refusal_keeps_the_upstreams_key() -> None:
    call = chat(messages=[{"role": "user", "content": "a"}], stream=True)
    sent, _ = asyncio.run(ask(anthropic, "anthropic", call))
    error = orjson.loads(sent)["error"]
    assert (error["message"], error["code"]) == ("wrong: …", "invalid_request_error")
