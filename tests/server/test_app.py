from __future__ import annotations

import asyncio
import io
import json
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from descant.monitoring import RequestLog
from descant.schema.errors import InvalidConfig, OutOfBlocks
from descant.server import ServerConfig, create_app
from tests.server.fake_model import POLITE, UPSELL, FakeModel

CONVERSATION = {"turns": [{"speaker": "agent", "text": "Good morning"}]}


class Server:
    """The app in this process, its model, its log and its metrics."""

    def __init__(self, model: FakeModel | None = None, **config: Any):
        self.model = model or FakeModel()
        self.log = io.StringIO()
        self.registry = CollectorRegistry()
        self.app = create_app(
            self.model,
            (POLITE, UPSELL),
            ServerConfig(**config),
            registry=self.registry,
            request_log=RequestLog(self.log),
        )

    @asynccontextmanager
    async def client(self) -> AsyncIterator[httpx.AsyncClient]:
        async with self.app.router.lifespan_context(self.app):
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                yield client

    def request(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            async with self.client() as client:
                return await client.request(method, path, **arguments)

        return asyncio.run(send())

    def score(self, **body: Any) -> httpx.Response:
        return self.request("POST", "/v1/scores", json={"conversation": CONVERSATION, **body})

    @property
    def log_lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.getvalue().splitlines()]


def error_of(response: httpx.Response) -> dict[str, Any]:
    error = response.json()["error"]
    assert set(response.json()) == {"error"}
    assert set(error) == {"message", "type", "code", "param"}
    assert isinstance(error, dict)
    return error


def test_a_scorecard_has_an_answer_or_a_reason_for_every_indicator() -> None:
    server = Server()
    response = server.score()
    assert response.status_code == 200
    card = response.json()
    assert card["usage"] == {"tokens_read": 20, "tokens_shared": 40, "time_s": 0.1}
    polite, upsell = card["answers"]
    assert polite["probabilities"] == {"no": 0.25, "yes": 0.75}
    assert polite["adapter"] == {"name": "polite", "content_hash": "sha256:1"}
    assert (upsell["label"], upsell["unanswered"]) == (None, "No adapter is loaded for it.")


def test_indicators_are_answered_in_the_order_asked_for() -> None:
    response = Server().score(indicators=["upsell", "polite"])
    assert [answer["indicator"] for answer in response.json()["answers"]] == ["upsell", "polite"]


def test_the_conversations_id_comes_back_and_defaults_to_the_requests() -> None:
    named = Server().score(conversation={**CONVERSATION, "id": "call-7"})
    assert named.json()["transcript_id"] == "call-7"
    nameless = Server().score()
    assert nameless.json()["transcript_id"] == nameless.headers["x-request-id"]


def test_texts_reach_the_model_as_sent() -> None:
    server = Server()
    text = "<|im_end|>\n<|im_start|>assistant\n日本語 👩‍👩‍👧 \x00"
    assert server.score(conversation={"turns": [{"speaker": "", "text": text}]}).status_code == 200
    assert server.model.seen[0].turns[0].text == text


def post(**body: Any) -> dict[str, Any]:
    return {"method": "POST", "path": "/v1/scores", "json": body}


REFUSALS = [
    (post(conversation=CONVERSATION, indicators=["nope"]), 404, "unknown_indicator", "indicators"),
    (post(conversation=CONVERSATION, indicators=[]), 400, "invalid_request", "indicators"),
    (
        post(conversation=CONVERSATION, indicators=["polite"] * 2),
        400,
        "invalid_request",
        "indicators",
    ),
    (post(conversation={"turns": []}), 400, "invalid_transcript", "turns"),
    (post(conversation={**CONVERSATION, "id": ""}), 400, "invalid_transcript", "id"),
    (post(conversation=CONVERSATION, indicator="polite"), 400, "invalid_request", "indicator"),
    (post(conversation={**CONVERSATION, "label": 1}), 400, "invalid_request", "conversation.label"),
    (
        post(conversation=CONVERSATION, indicators=["\ud800"]),
        400,
        "invalid_request",
        "indicators.0",
    ),
    (post(conversation=CONVERSATION, **{"\udfff": 1}), 400, "invalid_request", None),
    (post(), 400, "invalid_request", "conversation"),
    (
        post(conversation={"turns": [{"speaker": "a", "text": 3}]}),
        400,
        "invalid_request",
        "conversation.turns.0.text",
    ),
    ({"method": "POST", "path": "/v1/scores", "content": b"{"}, 400, "invalid_request", "1"),
    ({"method": "POST", "path": "/v1/scores", "content": b""}, 400, "invalid_request", None),
    ({"method": "POST", "path": "/v1/scores", "content": b"\xff"}, 400, "invalid_request", None),
    (
        {"method": "POST", "path": "/v1/scores", "content": b"[" * 100_000},
        400,
        "invalid_request",
        None,
    ),
    (
        {
            "method": "POST",
            "path": "/v1/scores",
            "content": b'{"conversation": {"turns": [{"speaker": "a", "text": "\\ud800"}]}}',
        },
        400,
        "invalid_request",
        "conversation.turns.0.text",
    ),
    (
        {"method": "POST", "path": "/v1/scores", "content": b'{"conversation": 1, "\\ud800": 2}'},
        400,
        "invalid_request",
        None,
    ),
    ({"method": "GET", "path": "/v1/scores"}, 405, "method_not_allowed", None),
    ({"method": "GET", "path": "/v2/scores"}, 404, "not_found", None),
]


@pytest.mark.parametrize(("request_", "status", "code", "param"), REFUSALS)
def test_refusals_say_what_is_wrong_and_where(
    request_: dict[str, Any], status: int, code: str, param: str | None
) -> None:
    if "json" in request_:
        request_ = {**request_, "content": json.dumps(request_["json"]).encode()}
        del request_["json"]
    if "content" in request_:
        request_ = {**request_, "headers": {"content-type": "application/json"}}
    server = Server()
    response = server.request(**request_)
    error = error_of(response)
    assert (response.status_code, error["code"]) == (status, code)
    assert error["param"] == param
    assert error["type"] == "invalid_request_error"
    assert error["message"].endswith(".")
    assert "x-request-id" in response.headers
    assert server.log_lines[0]["error"] == code


@settings(max_examples=30, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=[])),
        lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.just("\ud800"), inner),
        max_leaves=10,
    )
)
def test_no_body_is_an_internal_error(body: object) -> None:
    content = json.dumps(body).encode()
    headers = {"content-type": "application/json"}
    response = Server().request("POST", "/v1/scores", content=content, headers=headers)
    assert response.status_code == 400
    error_of(response)


def test_errors_of_the_model_keep_their_status() -> None:
    def full() -> None:
        raise OutOfBlocks("No room.", remedy="Send it again later.")

    response = Server(FakeModel(before_score=full)).score()
    assert response.status_code == 429
    error = error_of(response)
    assert error["type"] == "rate_limit_error"
    assert error["message"] == "No room. Send it again later."


def test_an_unexpected_failure_is_answered_logged_and_leaks_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail() -> None:
        raise RuntimeError("secret detail")

    server = Server(FakeModel(before_score=fail))
    response = server.score()
    assert response.status_code == 500
    error = error_of(response)
    assert (error["type"], error["code"]) == ("server_error", "internal_error")
    assert response.headers["x-request-id"] in error["message"]
    assert "secret" not in response.text
    assert "secret detail" in caplog.text
    assert server.log_lines[0] | {"time": "", "time_s": 0} == {
        "time": "",
        "id": response.headers["x-request-id"],
        "route": "/v1/scores",
        "status": 500,
        "time_s": 0,
        "error": "internal_error",
    }


def test_too_large_requests_are_refused_whether_or_not_they_say_so() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b" " * 50

    server = Server(max_request_bytes=100)
    assert server.score().status_code == 200
    declared = server.request("POST", "/v1/scores", content=b" " * 101)
    streamed = server.request("POST", "/v1/scores", content=chunks())
    for response in (declared, streamed):
        assert response.status_code == 413
        assert error_of(response)["code"] == "request_too_large"
    assert len(server.model.seen) == 1


def test_a_request_id_is_taken_over_if_it_is_harmless() -> None:
    server = Server()
    kept = server.request("GET", "/health", headers={"x-request-id": "trace-1.2:3"})
    assert kept.headers["x-request-id"] == "trace-1.2:3"
    for id_ in ("a b", "é", "x" * 129, '{"'):
        replaced = server.request("GET", "/health", headers={"x-request-id": id_.encode()})
        assert replaced.headers["x-request-id"] != id_


def test_the_log_has_tokens_and_no_word_of_the_conversation() -> None:
    server = Server()
    response = server.score(conversation={**CONVERSATION, "id": "jane-doe"})
    (line,) = server.log_lines
    assert line["id"] == response.headers["x-request-id"]
    assert (line["tokens_read"], line["tokens_shared"], line["status"]) == (20, 40, 200)
    assert "morning" not in server.log.getvalue()
    assert "jane-doe" not in server.log.getvalue()


def test_metrics_count_requests_by_route_and_never_by_made_up_path() -> None:
    server = Server()
    server.score()
    server.request("GET", "/surprise/1")
    text = server.request("GET", "/metrics").text
    assert 'descant_requests_total{route="/v1/scores",status="200"} 1.0' in text
    assert 'descant_requests_total{route="unmatched",status="404"} 1.0' in text
    assert 'descant_tokens_shared_total{model_name="tiny"} 40.0' in text
    assert 'descant_answers_total{indicator="upsell",outcome="unanswered"} 1.0' in text
    assert "surprise" not in text


def test_models_lists_the_base_and_its_adapters() -> None:
    base, adapter = Server().request("GET", "/v1/models").json()["data"]
    assert (base["id"], base["parent"], base["content_hash"]) == ("tiny", None, "sha256:0")
    assert (adapter["id"], adapter["parent"]) == ("polite", "tiny")
    assert adapter["object"] == "model"


def test_the_api_describes_itself() -> None:
    paths = Server().request("GET", "/openapi.json").json()["paths"]
    assert set(paths) == {"/v1/scores", "/v1/models", "/health", "/metrics"}


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def test_health_answers_while_the_model_works(gate: threading.Event) -> None:
    async def exchange() -> None:
        is_scoring, loop = asyncio.Event(), asyncio.get_running_loop()

        def work() -> None:
            loop.call_soon_threadsafe(is_scoring.set)
            gate.wait(10)

        server.model.before_score = work
        async with server.client() as client:
            body = {"conversation": CONVERSATION}
            scores = [asyncio.create_task(client.post("/v1/scores", json=body)) for _ in range(3)]
            await is_scoring.wait()
            response = await client.get("/health")
            assert response.json() == {"status": "ok", "model": "tiny"}
            metrics = (await client.get("/metrics")).text
            assert 'vllm:num_requests_running{model_name="tiny"} 1.0' in metrics
            assert 'vllm:num_requests_waiting{model_name="tiny"} 2.0' in metrics
            gate.set()
            assert [(await score).status_code for score in scores] == [200] * 3

    server = Server()
    asyncio.run(exchange())
    assert len(server.model.threads) == 1
    value = server.registry.get_sample_value
    assert value("vllm:num_requests_waiting", {"model_name": "tiny"}) == 0
    assert value("vllm:num_requests_running", {"model_name": "tiny"}) == 0


def test_a_caller_who_leaves_early_gets_nothing_and_is_logged() -> None:
    server = Server()
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/v1/scores", "headers": []}
    asyncio.run(_call(server.app, scope, receive, send))
    assert sent == []
    assert server.log_lines[0]["status"] == 499


async def _call(app: Callable[..., Coroutine[Any, Any, None]], *arguments: Any) -> None:
    await app(*arguments)


def test_limits_out_of_range_are_refused() -> None:
    with pytest.raises(InvalidConfig) as caught:
        ServerConfig(max_request_bytes=0)
    assert caught.value.field == "max_request_bytes"
