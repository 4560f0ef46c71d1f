from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from .calls import HOST, KEY, speaking

SHAPES = [
    '{"error": {"message": "%s", "type": "t", "code": "c", "param": "p"}}',
    '{"type": "error", "error": {"type": "t", "message": "%s"}}',
    '{"object": "error", "message": "%s", "type": "t", "code": 400}',
    '{"error": "%s"}',
    '{"detail": "%s"}',
    '{"detail": [{"loc": ["body"], "msg": "%s"}, {"msg": "another"}]}',
]


def told(status: int, body: bytes) -> dict[str, str | None]:
    document = orjson.loads(speaking("openai").refusal(status, {}, body))
    assert list(document) == ["error"]
    found: dict[str, str | None] = document["error"]
    return found


@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_wrong_with_the_request_is_told_in_every_shape(shape: str) -> None:
    assert told(400, (shape % "temperature is too high").encode())["message"] == (
        "temperature is too high"
    )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 422, 429, 500, 503, 529])
def test_no_secret_is_told(shape: str, status: int) -> None:
    secrets = (
        f"{KEY} https://{HOST}/v1 {HOST.upper()} org-a1b2c3d4e5 sk-proj-***abc1 Bearer abc.def"
    )
    sent = str(told(status, (shape % secrets).encode()))
    for secret in (KEY, HOST, HOST.upper(), "a1b2c3", "abc1", "abc.def", "http"):
        assert secret not in sent


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (302, "server_error", "upstream_redirect"),
        (401, "invalid_request_error", "upstream_credentials"),
        (429, "rate_limit_error", "upstream_busy"),
        (500, "server_error", "upstream_failed"),
        (504, "server_error", "upstream_timeout"),
    ],
)
def test_what_is_the_upstreams_own_affair_is_told_in_the_gateways_words(
    status: int, kind: str, code: str
) -> None:
    found = told(status, b'{"error": {"message": "private", "code": "private"}}')
    assert (found["type"], found["code"]) == (kind, code)
    assert "private" not in str(found)


def test_names_of_the_callers_own_stay() -> None:
    message = "Unknown parameter: 'key_findings' and 'req_list' (messages[1].content)."
    assert told(400, orjson.dumps({"error": {"message": message}}))["message"] == message


@given(st.integers(100, 599), st.binary(max_size=200))
def test_garbage_becomes_an_error_body(status: int, body: bytes) -> None:
    assert told(status, body)["message"]


@pytest.mark.parametrize("body", [b'{"error":{"message":"\\ud800","code":"\\ud800"}}', b"{" * 9999])
def test_what_utf8_cannot_carry_is_told_all_the_same(body: bytes) -> None:
    assert speaking("openai").refusal(400, {}, body)
