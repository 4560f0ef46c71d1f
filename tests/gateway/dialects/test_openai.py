from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from descant.gateway import Usage
from descant.gateway.config import DialectName, UpstreamConfig
from descant.gateway.dialects import dialect_of
from descant.schema.errors import GarbledAnswer, InputError, InvalidConfig, UnsupportedField

from .calls import KEY, call_of, chat, speaking

ANSWER = (
    b'{ "id": "x", "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}}],'
    + (
        b' "usage": {"prompt_tokens": 9, "completion_tokens": 3,'
        b' "prompt_tokens_details": {"cached_tokens": 4}} }'
    )
)


@pytest.mark.parametrize("name", ["openai", "azure", "anthropic", "vllm", "descant"])
def test_no_key_is_shown_where_a_dialect_or_a_request_is_logged(name: DialectName) -> None:
    dialect = speaking(name, api_version="v1")
    request = dialect.request(chat(), "polite")
    assert KEY in str(request.headers)
    assert KEY not in f"{dialect!r} {request!r}"


def test_the_callers_bytes_pass_where_nothing_has_to_change() -> None:
    raw = b'{ "model": "polite",\n "messages": [{"role": "user", "content": "\xc3\xa9"}], "top_k": 3 }'
    request = speaking("openai").request(call_of(raw), "polite")
    assert request.body == raw
    assert (request.method, request.path) == ("POST", "/v1/chat/completions")


def test_the_model_is_renamed_and_all_else_stays() -> None:
    call = chat(top_k=3, guided_choice=["a", "b"])
    sent = orjson.loads(speaking("vllm").request(call, "gpt-5-mini").body)
    assert sent == {**call.body, "model": "gpt-5-mini"}


def test_only_the_gateways_own_headers_are_sent() -> None:
    request = speaking("openai").request(chat(), "polite")
    assert request.headers == {
        "accept": "application/json",
        "accept-encoding": "identity",
        "authorization": f"Bearer {KEY}",
        "content-type": "application/json",
    }


def test_a_stream_is_asked_for_its_usage() -> None:
    call = chat(stream=True, stream_options={"continuous_usage_stats": True})
    request = speaking("vllm").request(call, "polite")
    options = orjson.loads(request.body)["stream_options"]
    assert options == {"continuous_usage_stats": True, "include_usage": True}
    assert request.headers["accept"] == "text/event-stream"


def test_a_stream_that_asks_for_its_usage_passes_as_it_is() -> None:
    call = chat(stream=True, stream_options={"include_usage": True})
    assert speaking("openai").request(call, "polite").body is call.raw


@pytest.mark.parametrize(
    "raw",
    [
        b'{"model": "secret", "model": "polite", "messages": []}',
        b'{"\\u006dodel": "secret", "model": "polite", "messages": []}',
        b'{"model": "polite", "messages": ["secret"], "messages": []}',
    ],
)
def test_a_field_that_stands_twice_reaches_nobody_twice(raw: bytes) -> None:
    body = speaking("openai").request(call_of(raw), "polite").body
    assert b"secret" not in body
    assert orjson.loads(body) == {"model": "polite", "messages": []}


@pytest.mark.parametrize("name", ["Model", "MODEL", "\u017ftream", "Max_Tokens"])
def test_a_field_that_only_looks_like_one_is_refused(name: str) -> None:
    with pytest.raises(InputError) as caught:
        speaking("openai").request(chat(**{name: "secret"}), "polite")
    assert caught.value.field == name


def test_a_request_nested_beyond_reason_is_refused_by_a_typed_error() -> None:
    deep = b'{"model": "polite", "messages": %s}' % (b"[" * 1000 + b"]" * 1000)
    with pytest.raises(InputError):
        speaking("openai").request(call_of(deep), "other")


def test_a_request_nested_deeper_than_orjson_writes_is_written_all_the_same() -> None:
    deep = b"[" * 300 + b"]" * 300
    body = b'{"model": "polite", "messages": %s}' % deep
    sent = speaking("openai").request(call_of(body), "other").body
    assert sent == b'{"model":"other","messages":%s}' % deep


def test_a_base_path_goes_before_and_v1_is_not_said_twice() -> None:
    for path in ("/proxy", "/proxy/", "/proxy/v1", "/proxy/v1/"):
        request = speaking("openai", path).request(chat(), "polite")
        assert request.path == "/proxy/v1/chat/completions"


VALUES = st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5)
BODIES = st.dictionaries(
    st.sampled_from(["messages", "n", "top_k", "tools", "x"]), st.lists(VALUES, max_size=3) | VALUES
)


@given(BODIES, st.booleans(), st.sampled_from([None, 2]), st.sampled_from(["polite", "other"]))
def test_the_quick_way_says_what_the_slow_one_would(
    fields: dict[str, Any], is_ascii: bool, indent: int | None, model: str
) -> None:
    written = json.dumps({"model": "polite", **fields}, ensure_ascii=is_ascii, indent=indent)
    call = call_of(written.encode())
    sent = speaking("openai").request(call, model).body
    assert orjson.loads(sent) == {**call.body, "model": model}


def test_an_answer_is_the_very_same_bytes_with_its_usage() -> None:
    answered = speaking("openai").answer(chat(), ANSWER)
    assert answered.body is ANSWER
    assert answered.usage == Usage(9, 3, 4)


@pytest.mark.parametrize(
    "usage",
    [
        "null",
        "[]",
        '"many"',
        "{}",
        '{"prompt_tokens": -1, "completion_tokens": 2}',
        '{"prompt_tokens": 1, "completion_tokens": "2"}',
        '{"prompt_tokens": true, "completion_tokens": 2}',
        '{"tokens_read": 1.5, "tokens_shared": 2}',
    ],
)
def test_usage_that_cannot_be_is_none(usage: str) -> None:
    body = b'{"choices": [], "usage": %s}' % usage.encode()
    assert speaking("openai").answer(chat(), body).usage is None


def test_more_cached_tokens_than_there_are_count_as_all() -> None:
    body = b'{"data": [], "usage": {"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 9}}}'
    call = call_of({"model": "polite", "input": "x"}, "embeddings")
    assert speaking("openai").answer(call, body).usage == Usage(5, 0, 5)


def test_python_servers_numbers_and_letters_are_read() -> None:
    body = (
        b'{"choices": [{"logprob": -Infinity, "text": "\\ud83d"}], "usage": {"prompt_tokens": 1}}'
    )
    answered = speaking("vllm").answer(call_of({"prompt": "x"}, "completions"), body)
    assert answered.body is body
    assert answered.usage == Usage(1)


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"null", b'{"error": {"message": "x"}}', b'{"choices": {}}', b"{"],
)
def test_garbage_is_no_answer(body: bytes) -> None:
    with pytest.raises(GarbledAnswer):
        speaking("openai").answer(chat(), body)


def test_a_scorecard_passes_with_its_usage_and_its_adapters() -> None:
    adapter = {"name": "polite", "content_hash": "sha256:aa"}
    answers = [{"adapter": adapter}, {"adapter": adapter}, {"adapter": None}]
    usage = {"tokens_read": 30, "tokens_shared": 70, "time_s": 0.1}
    body = orjson.dumps({"transcript_id": "t", "answers": answers, "usage": usage})
    call = call_of({"model": "polite", "conversation": {"turns": []}}, "scores")
    dialect = speaking("descant")
    answered = dialect.answer(call, body)
    assert answered.body is body
    assert answered.usage == Usage(100, 0, 70)
    assert answered.adapters == ("sha256:aa",)
    request = dialect.request(call, "polite")
    assert request.path == "/v1/scores"
    assert orjson.loads(request.body) == {"conversation": {"turns": []}}


def test_a_scorecards_request_without_a_model_passes_as_it_is() -> None:
    call = call_of(b'{ "conversation": {"turns": []} }', "scores")
    assert speaking("descant").request(call, "polite").body is call.raw


@pytest.mark.parametrize("name", ["openai", "vllm"])
def test_scores_are_for_descant(name: str) -> None:
    with pytest.raises(UnsupportedField):
        speaking(name).request(call_of({"conversation": {}}, "scores"), "polite")  # type: ignore[arg-type]


@pytest.mark.parametrize("key", ["", "a b", "a\r\nx-evil: 1", "schlüssel"])
def test_a_key_that_no_header_may_hold_is_refused_and_not_quoted(key: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        dialect_of(UpstreamConfig("https://upstream.example"), key)
    assert caught.value.field == "key_env"
    assert not key or key not in str(caught.value)
