from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from descant.gateway import Usage

from .calls import HOST, KEY, chat, events, run_chopped, run_whole, speaking

ROLE = b'data: {"choices":[{"index":0,"delta":{"role":"assistant"}}],"usage":null}\n\n'
TEXT = b'data: {"choices":[{"index":0,"delta":{"content":"\xc3\xa9"}}]}\r\n\r\n'
PING = b": still there\n\n"
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2}}\n\n'
FILTERS = b'data: {"choices":[],"prompt_filter_results":[{"prompt_index":0}]}\n\n'
DONE = b"data: [DONE]\n\n"
ERROR = b'data: {"error":{"message":"no","type":"overloaded_error"}}\n\n'
PARTS = st.sampled_from(
    [ROLE, TEXT, PING, USAGE, FILTERS, DONE, ERROR, b"<html>\n\n", b"data: {\n\n"]
)
ASKING = st.booleans()


def call(is_asking: bool):  # type: ignore[no-untyped-def]
    options = {"stream_options": {"include_usage": True}} if is_asking else {}
    return chat(stream=True, **options)


def test_a_stream_passes_byte_by_byte_without_the_usage_nobody_asked_for() -> None:
    reader = speaking("openai").stream(call(False))
    sent = run_whole(reader, FILTERS + ROLE + PING + TEXT + USAGE + DONE)
    assert sent == FILTERS + ROLE + PING + TEXT + DONE
    assert reader.is_complete and reader.failure is None
    assert reader.usage == Usage(7, 2)


def test_usage_that_was_asked_for_passes() -> None:
    reader = speaking("openai").stream(call(True))
    assert run_whole(reader, TEXT + USAGE + DONE) == TEXT + USAGE + DONE
    assert reader.usage == Usage(7, 2)


def test_only_what_is_unfinished_is_held() -> None:
    reader = speaking("openai").stream(call(False))
    assert reader.feed(ROLE + TEXT[:9]) == ROLE
    assert reader.feed(TEXT[9:-1]) == b""
    assert reader.feed(TEXT[-1:] + DONE[:3]) == TEXT


def test_usage_within_the_last_chunk_is_read_and_passes() -> None:
    last = b'data: {"choices":[{"index":0,"delta":{}}],"usage":{"prompt_tokens":7}}\n\n'
    reader = speaking("vllm").stream(call(False))
    assert run_whole(reader, last + DONE) == last + DONE
    assert reader.usage == Usage(7)


def test_usage_in_an_event_of_another_kind_passes() -> None:
    other = b'data: {"object":"progress","usage":{"prompt_tokens":7}}\n\n'
    reader = speaking("vllm").stream(call(False))
    assert run_whole(reader, other + DONE) == other + DONE


def test_an_end_without_its_empty_line_is_an_end() -> None:
    reader = speaking("openai").stream(call(False))
    assert run_whole(reader, TEXT + b"data: [DONE]\n") == TEXT + DONE
    assert reader.is_complete


def test_a_cut_stream_says_so() -> None:
    reader = speaking("openai").stream(call(False))
    *_, last = events(run_whole(reader, ROLE + TEXT[:20]))
    assert last["error"]["code"] == "stream_cut"
    assert reader.failure is not None and reader.failure.reason == "cut"
    assert not reader.is_complete


@pytest.mark.parametrize(
    "body", [b"<html>\n\n</html>", b"data: {\n\n", b"data: []\n\n", b"data: nonsense\n\n"]
)
def test_garbage_is_known_before_anything_is_sent(body: bytes) -> None:
    reader = speaking("openai").stream(call(False))
    assert reader.feed(body) == b""
    assert reader.failure is not None
    assert (reader.failure.reason, reader.failure.status) == ("garbled", 502)
    assert reader.feed(TEXT + DONE) == b""


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ({"type": "overloaded_error"}, 529),
        ({"code": 429}, 429),
        ({"code": "rate_limit_exceeded"}, 429),
        ({"type": "server_error"}, 500),
        ({}, 500),
    ],
)
def test_an_error_within_a_stream_has_its_status(error: dict[str, object], status: int) -> None:
    stated = {"message": f"{KEY} at https://{HOST}", **error}
    reader = speaking("openai").stream(call(False))
    assert reader.feed(b"data: " + orjson.dumps({"error": stated}) + b"\n\n") == b""
    assert reader.failure is not None
    assert (reader.failure.reason, reader.failure.status) == ("stated", status)
    closing = reader.end()
    assert KEY.encode() not in closing and HOST.encode() not in closing
    assert "error" in events(closing)[0]


def test_an_error_instead_of_a_stream_has_its_status() -> None:
    reader = speaking("openai").stream(call(False))
    run_whole(reader, b'{"error": {"message": "no", "type": "rate_limit_error"}}')
    assert reader.failure is not None and reader.failure.status == 429


@given(st.lists(PARTS, max_size=8), st.lists(st.integers(0, 600), max_size=30), ASKING)
def test_in_any_pieces_it_is_the_same(parts: list[bytes], cuts: list[int], is_asking: bool) -> None:
    stream = b"".join(parts)
    whole, chopped = (speaking("openai").stream(call(is_asking)) for _ in range(2))
    assert run_chopped(chopped, stream, cuts) == run_whole(whole, stream)
    assert chopped.usage == whole.usage
    assert (chopped.is_complete, chopped.failure) == (whole.is_complete, whole.failure)


@given(st.lists(PARTS, max_size=8), ASKING)
def test_it_is_what_the_slow_twin_says(parts: list[bytes], is_asking: bool) -> None:
    reader = speaking("openai").stream(call(is_asking))
    sent = run_whole(reader, b"".join(parts))
    expected, is_complete = slow(parts, is_asking)
    assert reader.is_complete == is_complete
    assert sent == expected if is_complete else sent.startswith(expected)


def slow(parts: list[bytes], is_asking: bool) -> tuple[bytes, bool]:
    passed = b""
    for part in parts:
        if part in (ERROR, b"<html>\n\n", b"data: {\n\n"):
            return passed, False
        passed += part if is_asking or part != USAGE else b""
        if part == DONE:
            return passed, True
    return passed, False


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=10))
def test_arbitrary_bytes_are_never_more_than_a_failure(stream: bytes, cuts: list[int]) -> None:
    whole, chopped = (speaking("openai").stream(call(False)) for _ in range(2))
    assert run_chopped(chopped, stream, cuts) == run_whole(whole, stream)
    assert whole.is_complete or whole.failure is not None
