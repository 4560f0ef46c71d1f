"""The gateway over HTTP: real sockets, a real server in front, the mock of an upstream behind."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from benchmarks.gateway.mock import MockUpstream

from descant.release import read_trial
from tests.gateway.mock_upstream import mock_upstream
from tests.gateway.running import CHAT, Running, read_lines, running, write_file

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def fronted(
    folder: Path, *knobs: dict[str, Any], more: str = "", route: str = ""
) -> AsyncIterator[tuple[Running, list[MockUpstream]]]:
    """A gateway in front of a mock for each set of knobs."""
    async with mock_upstream(**knobs[0]) as first:
        if len(knobs) == 1:
            path = write_file(folder, first.url, more=more, route=route)
            async with running(path) as gateway:
                yield gateway, [first.upstream]
            return
        async with mock_upstream(**knobs[1]) as second:
            path = write_file(folder, first.url, second.url, more=more, route=route)
            async with running(path) as gateway:
                yield gateway, [first.upstream, second.upstream]


async def lines(gateway: Running, folder: Path) -> list[dict[str, Any]]:
    """Return what the books have."""
    ledger = gateway.worker.lasting.ledger
    assert ledger is not None
    await asyncio.to_thread(ledger.flush)
    return read_lines(folder / "usage.sqlite")


def books(folder: Path) -> str:
    return f'[state]\nledger = "{folder}/usage.sqlite"\n'


async def test_an_answer_passes_as_the_upstream_wrote_it(tmp_path: Path) -> None:
    async with fronted(tmp_path, {}) as (gateway, _):
        answer = await gateway.chat()
    assert answer.status == 200
    assert answer.json["usage"]["completion_tokens"] == 4
    assert answer.headers["x-descant-upstream"] == "u0"


async def test_a_stream_s_usage_is_known_though_the_caller_did_not_ask(tmp_path: Path) -> None:
    async with fronted(tmp_path, {"gap_s": 0}, more=books(tmp_path)) as (gateway, _):
        answer = await gateway.chat(stream=True)
        (line,) = await lines(gateway, tmp_path)
    events = answer.body.decode().split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    assert '"usage":{' not in answer.body.decode()
    assert (line["outcome"], line["completion_tokens"]) == ("ok", 4)


@pytest.mark.parametrize(
    "fault", ["error_500", "error_503", "reset_before", "garbage", "lie_type", "half_close"]
)
async def test_another_upstream_answers_at_once(tmp_path: Path, fault: str) -> None:
    broken = {"faults": {fault: 1.0}}
    async with fronted(tmp_path, broken, {}) as (gateway, mocks):
        answer = await gateway.chat()
    assert (answer.status, answer.headers["x-descant-upstream"]) == (200, "u1")
    assert [mock.counts.requests for mock in mocks] == [1, 1]


async def test_no_call_comes_inside_a_window_that_an_upstream_announced(tmp_path: Path) -> None:
    throttled = {"faults": {"error_429": 1.0}, "retry_after_s": 60}
    async with fronted(tmp_path, throttled, {}) as (gateway, mocks):
        answers = [await gateway.chat() for _ in range(5)]
    assert [answer.status for answer in answers] == [200] * 5
    assert [mock.counts.requests for mock in mocks] == [1, 5]


async def test_where_all_are_throttled_the_wait_is_told_truthfully(tmp_path: Path) -> None:
    throttled = {"faults": {"error_429": 1.0}, "retry_after_s": 40}
    async with fronted(tmp_path, throttled) as (gateway, mocks):
        first, second = await gateway.chat(), await gateway.chat()
    assert (first.status, second.status) == (429, 429)
    assert 38 <= int(second.headers["retry-after"]) <= 40
    assert mocks[0].counts.requests == 1


async def test_what_the_upstream_says_is_wrong_is_said_to_the_caller(tmp_path: Path) -> None:
    async with fronted(tmp_path, {}, {}) as (gateway, mocks):
        answer = await gateway.chat(messages="none")
    assert answer.status == 400
    assert "message" in answer.json["error"]
    assert mocks[1].counts.requests == 0


async def test_a_key_s_tokens_are_set_aside_before_anything_is_asked(tmp_path: Path) -> None:
    limit = "tokens_per_minute = 200\n"
    async with fronted(tmp_path, {}, more=limit) as (gateway, mocks):
        answers = await asyncio.gather(*(gateway.chat(max_tokens=40) for _ in range(20)))
    refused = [answer for answer in answers if answer.status == 429]
    assert refused
    assert all(1 <= int(answer.headers["retry-after"]) <= 61 for answer in refused)
    assert mocks[0].counts.requests == 20 - len(refused)
    taken = sum(answer.json["usage"]["total_tokens"] for answer in answers if answer.status == 200)
    assert taken <= 200


async def test_a_request_that_is_larger_than_its_limit_is_told_so(tmp_path: Path) -> None:
    async with fronted(tmp_path, {}, more="tokens_per_minute = 50\n") as (gateway, _):
        answer = await gateway.chat(max_tokens=4000)
    assert answer.status == 429
    assert "retry-after" not in answer.headers
    assert "Make it smaller" in answer.json["error"]["message"]


async def test_a_caller_who_hangs_up_frees_everything(tmp_path: Path) -> None:
    slow = {"latency": {"fixed_s": 30.0}}
    more = "concurrency = 1\n" + books(tmp_path)
    async with fronted(tmp_path, slow, more=more) as (gateway, mocks):
        task = asyncio.ensure_future(gateway.chat())
        while not mocks[0].counts.requests:
            await asyncio.sleep(0.01)
        task.cancel()
        while not (found := await lines(gateway, tmp_path)):
            await asyncio.sleep(0.05)
        mocks[0].turn({"latency": {"fixed_s": 0.0}})
        assert (await gateway.chat()).status == 200
    assert [line["outcome"] for line in found] == ["cancelled"]


async def test_the_time_a_caller_gives_is_kept(tmp_path: Path) -> None:
    async with fronted(tmp_path, {"latency": {"fixed_s": 30.0}}) as (gateway, _):
        answer = await gateway.chat(headers={"x-deadline-s": "0.2"})
    assert (answer.status, answer.json["error"]["code"]) == (504, "deadline_exceeded")


async def test_the_same_question_at_the_same_time_is_asked_once(tmp_path: Path) -> None:
    slow = {"latency": {"fixed_s": 0.3}}
    more = books(tmp_path)
    async with fronted(tmp_path, slow, more=more, route="cache_s = 60") as (gateway, mocks):
        answers = await asyncio.gather(*(gateway.chat(temperature=0) for _ in range(8)))
        again = await gateway.chat(temperature=0)
        streamed = await gateway.chat(temperature=0, stream=True)
        found = await lines(gateway, tmp_path)
    assert mocks[0].counts.requests == 1
    assert {answer.body for answer in [*answers, again]} == {answers[0].body}
    assert streamed.body.endswith(b"data: [DONE]\n\n")
    assert sorted(line["outcome"] for line in found) == ["cached"] * 9 + ["ok"]


async def test_another_tenant_never_gets_a_kept_answer(tmp_path: Path) -> None:
    other = "b3a8e0e1f9ab1bfe3a36f231f676f78bb30a519d2b21e6c530c0eee8ebb4a5d0"
    more = f'[keys.other]\nsha256 = "{other}"\n'
    async with fronted(tmp_path, {}, more=more, route="cache_s = 60") as (gateway, mocks):
        await gateway.chat(temperature=0)
        headers = {"authorization": "Bearer 456"}
        assert (await gateway.chat(temperature=0, headers=headers)).status == 200
    assert mocks[0].counts.requests == 2


async def test_a_change_of_the_file_is_in_force_and_a_wrong_one_is_not(tmp_path: Path) -> None:
    async with fronted(tmp_path, {}) as (gateway, _):
        path = tmp_path / "gateway.toml"
        good = path.read_text()
        path.write_text("[upstreams\n")
        await asyncio.sleep(1.3)
        assert (await gateway.chat()).status == 200
        path.write_text(good.replace('tenant = "quality"', 'models = ["other"]'))
        for _ in range(100):
            if (answer := await gateway.chat()).status == 404:
                break
            await asyncio.sleep(0.05)
    assert answer.json["error"]["code"] == "model_not_found"


@pytest.mark.parametrize("secret", ["", "Bearer ", "Bearer wrong", "Basic c2VzYW1l"])
async def test_nobody_passes_without_a_key(tmp_path: Path, secret: str) -> None:
    async with fronted(tmp_path, {}) as (gateway, mocks):
        answer = await gateway.chat(headers={"authorization": secret})
    assert (answer.status, mocks[0].counts.requests) == (401, 0)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"\xff", b'{"model": 3}', b'{"model": "a\\ud800"}']
)
async def test_what_is_no_request_is_400(tmp_path: Path, body: bytes) -> None:
    async with fronted(tmp_path, {}) as (gateway, _):
        answer = await gateway.post(CHAT, body)
    assert answer.status == 400
    assert json.loads(answer.body)["error"]["type"] == "invalid_request_error"


async def test_pages(tmp_path: Path) -> None:
    more = "[models.polite]\nconcurrency = 5\n"
    async with fronted(tmp_path, {}, more=more) as (gateway, _):
        statuses = {
            path: (await gateway.get(path)).status
            for path in ("/health", "/ready", "/v1/models", "/nowhere", CHAT)
        }
    assert statuses == {
        "/health": 200,
        "/ready": 200,
        "/v1/models": 200,
        "/nowhere": 404,
        CHAT: 405,
    }


async def test_a_scorecard_needs_no_model_and_asks_for_allowed_indicators_alone(
    tmp_path: Path,
) -> None:
    conversation = {"turns": [{"speaker": "agent", "text": "Good morning."}]}
    async with fronted(tmp_path, {}, more='models = ["polite"]\n') as (gateway, mocks):
        path = tmp_path / "gateway.toml"
        path.write_text(path.read_text().replace("[routes", 'dialect = "descant"\n[routes'))
        await asyncio.sleep(1.3)
        statuses = [
            (await gateway.post("/v1/scores", {"conversation": conversation, **more})).status
            for more in ({"indicators": ["polite"]}, {"indicators": ["refund"]}, {})
        ]
    assert statuses == [200, 404, 400]
    assert mocks[0].counts.requests == 1


async def test_a_cascade_goes_on_until_one_is_sure(tmp_path: Path) -> None:
    cascade = (
        '[cascades.refund.stages.small]\naccept = ["confidence"]\nmin_confidence = 0.99\n'
        "[cascades.refund.stages.large]\n"
    )
    more = cascade + books(tmp_path)
    async with fronted(tmp_path, {}, more=more) as (gateway, mocks):
        whole = await gateway.chat(model="refund")
        stream = await gateway.chat(model="refund", stream=True)
        found = await lines(gateway, tmp_path)
    assert (whole.status, whole.json["model"]) == (200, "large")
    assert stream.body.endswith(b"data: [DONE]\n\n")
    assert mocks[0].counts.requests == 4
    assert [(line["model"], line["attempts"]) for line in found] == [("refund", 2)] * 2


@pytest.mark.parametrize("stream", [False, True])
async def test_a_shadow_is_asked_too_and_nobody_hears_it(tmp_path: Path, stream: bool) -> None:
    route = 'shadow_model = "next"\nshadow_share = 1.0'
    more = f'{books(tmp_path)}trial_log = "{tmp_path}/trial.jsonl"\n'
    async with fronted(tmp_path, {"gap_s": 0}, more=more, route=route) as (gateway, mocks):
        answer = await gateway.chat(stream=stream)
        while mocks[0].counts.requests < 2 or not (tmp_path / "trial.jsonl").read_bytes():
            await asyncio.sleep(0.02)
        found = await lines(gateway, tmp_path)
    assert answer.status == 200
    assert b'"next"' not in answer.body
    assert sorted((line["kind"], line["model"]) for line in found) == [
        ("answer", "polite"),
        ("shadow", "next"),
    ]
    (row,) = read_trial(tmp_path / "trial.jsonl", most=0.05).rows
    assert row.indicator == "next"
