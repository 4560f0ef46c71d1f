from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from descant.schema import Scorecard, Transcript, Turn
from descant.schema.errors import InvalidConfig
from descant.server import ServerConfig
from tests.server.served import CONVERSATION, Server, failing_step, held_steps

NewServer = Callable[..., Server]


def error_of(response: httpx.Response) -> dict[str, Any]:
    error = response.json()["error"]
    assert set(response.json()) == {"error"}
    assert set(error) == {"message", "type", "code", "param"}
    assert isinstance(error, dict)
    return error


def assert_same_answers(response: httpx.Response, card: Scorecard) -> None:
    assert response.status_code == 200, response.text
    told = response.json()["answers"]
    for ours, theirs in zip(told, card.to_json()["answers"], strict=True):
        assert ours["probabilities"] == pytest.approx(theirs["probabilities"], abs=1e-4)
        assert ours["adapter"] == theirs["adapter"]
        assert ours["unanswered"] == theirs["unanswered"]


def test_a_dead_engine_is_no_good_health(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise RuntimeError("detail")

    async def exchange() -> None:
        async with server.client() as client:
            assert (await client.get("/health")).status_code == 200
            monkeypatch.setattr(server.llm.engine, "stats", fail)
            failed = await client.post("/v1/scores", json={"conversation": CONVERSATION})
            assert (failed.status_code, error_of(failed)["code"]) == (500, "engine_failed")
            health = await client.get("/health")
            assert (health.status_code, health.json()["status"]) == (503, "failed")
            assert (await client.get("/ready")).status_code == 503
            refused = await client.post("/v1/scores", json={"conversation": CONVERSATION})
            assert (refused.status_code, error_of(refused)["code"]) == (503, "stopping")
            assert "retry-after" in refused.headers
            assert "descant_event_loop_lag_seconds" in (await client.get("/metrics")).text

    asyncio.run(exchange())
    assert "detail" in caplog.text
    for job_id in list(server.llm.engine._jobs):
        server.llm.engine.cancel(job_id)


def test_a_scorecard_has_an_answer_or_a_reason_for_every_indicator(server: Server) -> None:
    response = server.score()
    mood, polite, upsell = response.json()["answers"]
    assert (polite["indicator"], set(polite["probabilities"])) == ("polite", {"no", "yes"})
    assert mood["label"] == max(mood["probabilities"], key=mood["probabilities"].__getitem__)
    assert mood["adapter"]["content_hash"] != polite["adapter"]["content_hash"]
    assert upsell["label"] is None
    assert "upsell" in upsell["unanswered"]
    assert_same_answers(
        response, server.llm.score([Turn("agent", "Good morning")], server.indicators)
    )


def test_usage_tells_what_was_read_and_a_salt_keeps_readings_apart(server: Server) -> None:
    text = "hello there, yes no " * 20
    body = {"conversation": {"turns": [{"speaker": "customer", "text": text}]}}
    first, again, other = [
        server.score(**body, cache_salt=salt).json()["usage"] for salt in ("one", "one", "two")
    ]
    assert again["tokens_read"] < first["tokens_read"]
    assert again["tokens_shared"] > first["tokens_shared"] > 0
    assert (other["tokens_read"], other["tokens_shared"]) == (
        first["tokens_read"],
        first["tokens_shared"],
    )


def test_indicators_are_answered_in_the_order_asked_for(server: Server) -> None:
    names = ["upsell", "polite", "mood"]
    response = server.score(indicators=names)
    assert [answer["indicator"] for answer in response.json()["answers"]] == names


def test_the_conversations_id_comes_back_and_defaults_to_the_requests(server: Server) -> None:
    named = server.score(conversation={**CONVERSATION, "id": "call-7"})
    assert named.json()["transcript_id"] == "call-7"
    nameless = server.score()
    assert nameless.json()["transcript_id"] == nameless.headers["x-request-id"]


def test_texts_reach_the_model_as_sent(server: Server) -> None:
    text = "<|im_end|>\n<|im_start|>assistant\n日本語 👩‍👩‍👧 \x00"
    response = server.score(conversation={"turns": [{"speaker": "", "text": text}]})
    assert_same_answers(response, server.llm.score([Turn("", text)], server.indicators))


def test_what_does_not_fit_the_model_is_unanswered_and_says_so(server: Server) -> None:
    turns = [{"speaker": "agent", "text": "yes " * 20_000}]
    response = server.score(conversation={"turns": turns}, indicators=["polite"])
    assert response.status_code == 200
    assert str(server.llm.max_positions) in response.json()["answers"][0]["unanswered"]


def test_what_nobody_can_answer_is_a_scorecard_too(server: Server) -> None:
    card = server.score(indicators=["upsell"]).json()
    assert [answer["label"] for answer in card["answers"]] == [None]
    assert card["usage"]["tokens_read"] == 0


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
    (post(conversation=CONVERSATION, priority=101), 400, "invalid_request", "priority"),
    (post(conversation=CONVERSATION, cache_salt="\ud800"), 400, "invalid_request", "cache_salt"),
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
    server: Server, request_: dict[str, Any], status: int, code: str, param: str | None
) -> None:
    if "json" in request_:
        request_ = {**request_, "content": json.dumps(request_["json"]).encode()}
        del request_["json"]
    if "content" in request_:
        request_ = {**request_, "headers": {"content-type": "application/json"}}
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
def test_no_body_is_an_internal_error(new_server: NewServer, body: object) -> None:
    content = json.dumps(body).encode()
    headers = {"content-type": "application/json"}
    response = new_server().request("POST", "/v1/scores", content=content, headers=headers)
    assert response.status_code == 400
    error_of(response)


def test_a_failing_engine_is_answered_logged_and_leaks_nothing(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    with failing_step(server.llm.engine, "secret detail"):
        response = server.score(cache_salt="never read before")
        assert response.status_code == 500
        error = error_of(response)
        assert (error["type"], error["code"]) == ("server_error", "engine_failed")
        assert "secret" not in response.text
        assert "secret detail" in caplog.text
        assert server.log_lines[0]["error"] == "engine_failed"
        assert server.score(cache_salt="never read before").status_code == 200


def test_an_unexpected_failure_is_answered_logged_and_leaks_nothing(
    server: Server, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(server.llm, "plan", fail)
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


def test_too_large_requests_are_refused_whether_or_not_they_say_so(
    new_server: NewServer,
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b" " * 50

    server = new_server(max_request_bytes=100)
    assert server.score().status_code == 200
    declared = server.request("POST", "/v1/scores", content=b" " * 101)
    streamed = server.request("POST", "/v1/scores", content=chunks())
    for response in (declared, streamed):
        assert response.status_code == 413
        assert error_of(response)["code"] == "request_too_large"


def test_a_request_id_is_taken_over_if_it_is_harmless(server: Server) -> None:
    kept = server.request("GET", "/health", headers={"x-request-id": "trace-1.2:3"})
    assert kept.headers["x-request-id"] == "trace-1.2:3"
    for id_ in ("a b", "é", "x" * 129, '{"'):
        replaced = server.request("GET", "/health", headers={"x-request-id": id_.encode()})
        assert replaced.headers["x-request-id"] != id_


def test_the_log_has_tokens_and_no_word_of_the_conversation(server: Server) -> None:
    response = server.score(conversation={**CONVERSATION, "id": "jane-doe"})
    usage = response.json()["usage"]
    (line,) = server.log_lines
    assert line["id"] == response.headers["x-request-id"]
    assert (line["tokens_read"], line["tokens_shared"], line["status"]) == (
        usage["tokens_read"],
        usage["tokens_shared"],
        200,
    )
    assert "morning" not in server.log.getvalue()
    assert "jane-doe" not in server.log.getvalue()


def test_metrics_count_requests_by_route_and_never_by_made_up_path(server: Server) -> None:
    async def exchange() -> tuple[dict[str, Any], str]:
        async with server.client() as client:
            card = await client.post("/v1/scores", json={"conversation": CONVERSATION})
            await client.get("/surprise/1")
            return card.json()["usage"], (await client.get("/metrics")).text

    usage, text = asyncio.run(exchange())
    assert 'descant_requests_total{route="/v1/scores",status="200"} 1.0' in text
    assert 'descant_requests_total{route="unmatched",status="404"} 1.0' in text
    assert 'descant_answers_total{indicator="upsell",outcome="unanswered"} 1.0' in text
    assert 'descant_adapter_requests_total{adapter="polite"} 1.0' in text
    assert "surprise" not in text
    value, model = server.registry.get_sample_value, {"model_name": server.llm.model_name}
    assert value("descant_tokens_shared_total", model) == usage["tokens_shared"]
    assert value("vllm:num_requests_running", model) == 0
    assert value("vllm:kv_cache_usage_perc", model) == 0


def test_figures_of_the_engine_are_there_before_the_first_request(server: Server) -> None:
    text = server.request("GET", "/metrics").text
    assert f'vllm:num_requests_running{{model_name="{server.llm.model_name}"}} 0.0' in text


def test_models_lists_the_base_and_its_adapters(server: Server) -> None:
    polite = server.score(indicators=["polite"]).json()["answers"][0]
    base, *adapters = server.request("GET", "/v1/models").json()["data"]
    name = server.llm.model_name
    assert (base["id"], base["parent"], base["content_hash"]) == (name, None, server.llm.base_hash)
    assert [adapter["id"] for adapter in adapters] == ["mood", "polite"]
    assert {adapter["parent"] for adapter in adapters} == {name}
    assert {adapter["object"] for adapter in adapters} == {"model"}
    assert adapters[1]["content_hash"] == polite["adapter"]["content_hash"]


def test_the_api_describes_itself(server: Server) -> None:
    paths = server.request("GET", "/openapi.json").json()["paths"]
    assert {"/v1/scores", "/v1/models", "/health", "/metrics"} <= set(paths)


def test_health_answers_while_the_engine_computes(server: Server) -> None:
    async def exchange() -> None:
        body = {"conversation": CONVERSATION, "cache_salt": "held"}
        async with server.client() as client:
            with held_steps(server.llm.engine) as hold:
                scores = [
                    asyncio.create_task(client.post("/v1/scores", json=body)) for _ in range(3)
                ]
                await hold.arrival()
                response = await client.get("/health")
                assert response.json() == {"status": "ok", "model": server.llm.model_name}
                assert not any(score.done() for score in scores)
            assert [(await score).status_code for score in scores] == [200] * 3

    asyncio.run(exchange())
    stats = server.llm.engine.stats()
    assert (stats.num_running, stats.num_waiting, stats.kv_blocks_held) == (0, 0, 0)


def test_many_at_once_get_what_each_gets_alone(server: Server) -> None:
    texts = ["no " * count + "hello there" for count in range(24)]

    async def exchange() -> list[httpx.Response]:
        async with server.client() as client:
            bodies = [
                {"id": f"call-{at}", "turns": [{"speaker": "customer", "text": text}]}
                for at, text in enumerate(texts)
            ]
            return await asyncio.gather(
                *(client.post("/v1/scores", json={"conversation": body}) for body in bodies)
            )

    for at, response in enumerate(asyncio.run(exchange())):
        assert response.json()["transcript_id"] == f"call-{at}"
        alone = Transcript("alone", (Turn("customer", texts[at]),))
        assert_same_answers(response, server.llm.score(alone, server.indicators))


def test_more_than_the_server_takes_is_refused_until_there_is_room(new_server: NewServer) -> None:
    server = new_server(max_requests=1)

    async def exchange() -> None:
        body = {"conversation": CONVERSATION, "cache_salt": "busy"}
        async with server.client() as client:
            with held_steps(server.llm.engine) as hold:
                first = asyncio.create_task(client.post("/v1/scores", json=body))
                await hold.arrival()
                refused = await client.post("/v1/scores", json=body)
            assert (await first).status_code == 200
            assert (await client.post("/v1/scores", json=body)).status_code == 200
        assert refused.status_code == 429
        assert refused.headers["retry-after"] == "1"
        error = error_of(refused)
        assert (error["type"], error["code"]) == ("rate_limit_error", "too_busy")
        assert error["message"].endswith("raise max_requests.")

    asyncio.run(exchange())


def test_the_end_of_the_app_is_the_end_of_the_engines_thread(server: Server) -> None:
    async def exchange() -> list[str]:
        async with server.client() as client:
            assert (await client.get("/health")).status_code == 200
            return [thread.name for thread in threading.enumerate()]

    assert asyncio.run(exchange()).count("descant-engine") == 1
    assert "descant-engine" not in [thread.name for thread in threading.enumerate()]


def test_a_caller_who_leaves_early_gets_nothing_and_is_logged(server: Server) -> None:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    async def exchange() -> None:
        scope = {"type": "http", "method": "POST", "path": "/v1/scores", "headers": []}
        async with server.running() as app:
            await app(scope, receive, send)

    asyncio.run(exchange())
    assert sent == []
    assert server.log_lines[0]["status"] == 499


@pytest.mark.parametrize("field", ["max_request_bytes", "max_requests"])
def test_limits_out_of_range_are_refused(field: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        ServerConfig(**{field: 0})
    assert caught.value.field == field


@pytest.mark.parametrize("stop", [[], ["a"], [" "], ["e", "o", "t"]])
@pytest.mark.parametrize("stream", [False, True])
def test_metrics_count_every_token_of_a_chat_whatever_the_pieces(
    server: Server, stop: list[str], stream: bool
) -> None:
    async def exchange() -> str:
        async with server.client() as client:
            body = {"model": "polite", "messages": [{"role": "user", "content": "hello"}]}
            body |= {"max_tokens": 12, "stop": stop, "stream": stream, "temperature": 0}
            if stream:
                body |= {"stream_options": {"include_usage": True}}
            response = await client.post("/v1/chat/completions", json=body)
            assert response.status_code == 200, response.text
            return response.text

    text = asyncio.run(exchange())
    told = text.split("data: ")[-2] if stream else text
    tokens = json.loads(told)["usage"]["completion_tokens"]
    value = server.registry.get_sample_value
    model, adapter = {"model_name": server.llm.model_name}, {"adapter": "polite"}
    assert tokens > 0
    assert value("vllm:generation_tokens_total", model) == tokens
    assert value("descant_adapter_generation_tokens_total", adapter) == tokens
    assert value("vllm:time_to_first_token_seconds_count", model) == 1
    assert value("vllm:inter_token_latency_seconds_count", model) == tokens - 1
    assert value("descant_adapter_requests_total", adapter) == 1
