"""A whole answer as a stream, read by OpenAI's own client."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import orjson
from openai import OpenAI

from descant.gateway.cache import replay_stream
from tests.gateway.cascade.scripted import chat, completion

USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


@contextmanager
def serving(stream: bytes) -> Iterator[OpenAI]:
    """A client of a server that answers everything with this."""

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.end_headers()
            self.wfile.write(stream)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with OpenAI(api_key="k", base_url=f"http://127.0.0.1:{server.server_port}/v1") as client:
            yield client
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def whole(body: dict[str, Any], kind: str = "chat.completion") -> dict[str, Any]:
    return {"created": 1, "model": "m", "object": kind, **body, "usage": USAGE}


def test_a_chat_comes_as_pieces_with_its_tools_and_usage() -> None:
    tool = {"id": "t1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    body = whole(chat("hello", tool_calls=[tool]))
    with serving(replay_stream(orjson.dumps(body), include_usage=True)) as client:
        pieces = list(client.chat.completions.create(model="m", messages=[], stream=True))
    said, end, usage = pieces
    assert said.choices[0].delta.content == "hello"
    assert end.choices[0].finish_reason == "stop"
    called = said.choices[0].delta.tool_calls
    assert called is not None
    assert (called[0].index, called[0].id) == (0, "t1")
    assert usage.usage is not None
    assert usage.usage.total_tokens == 5


def test_a_completion_comes_as_pieces_and_usage_only_if_asked_for() -> None:
    body = whole(completion("hello", [-0.1]), "text_completion")
    with serving(replay_stream(orjson.dumps(body), include_usage=False)) as client:
        pieces = list(client.completions.create(model="m", prompt="x", stream=True))
    assert [piece.choices[0].text for piece in pieces] == ["hello", ""]
    assert all(piece.usage is None for piece in pieces)


def test_the_stream_ends_as_openai_ends_it() -> None:
    stream = replay_stream(orjson.dumps(whole(chat("a\nb"))), include_usage=False)
    events = stream.split(b"\n\n")
    assert events[-2:] == [b"data: [DONE]", b""]
    assert orjson.loads(events[0].removeprefix(b"data: "))["object"] == "chat.completion.chunk"
