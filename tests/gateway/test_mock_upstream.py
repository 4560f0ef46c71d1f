"""The mock's limits are exact, its faults are what they are called, its answers never change."""

from __future__ import annotations

import asyncio
import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from benchmarks.gateway.load import Answer, Connection, Target, chat_body
from benchmarks.gateway.mock import Latency, MockUpstream, knobs_from_json
from benchmarks.gateway.mock.latency import delay_s
from benchmarks.gateway.mock.plan import Plan
from benchmarks.gateway.mock.rate_limits import duration
from benchmarks.gateway.mock.window import SlidingWindow
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.gateway.mock_upstream import mock_upstream

CHAT = "/v1/chat/completions"
BODY = chat_body(1, "mock", {"max_tokens": 8}, prompt_characters=40)
TOKENS = 4 + 10 + 8
"""Of that body: one message, forty characters, eight tokens of answer."""


@dataclass
class Clock:
    now_s: float = 1000.0

    def __call__(self) -> float:
        return self.now_s


def upstream(**knobs: Any) -> tuple[MockUpstream, Clock]:
    clock = Clock()
    return MockUpstream(knobs_from_json(knobs), clock), clock


def read(plan: Plan) -> tuple[int, dict[str, str], bytes]:
    head, _, body = b"".join(plan.frames).partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    return int(first.split()[1]), dict(line.split(": ", 1) for line in lines), body


async def asked(url: str, body: bytes = BODY, timeout_s: float = 10.0) -> Answer:
    target = Target(url + CHAT, (body,))
    connection = await Connection.open(target.address)
    answer = await connection.ask(target.requests()[0], timeout_s)
    connection.close()
    return answer


@given(
    st.lists(
        st.tuples(st.integers(0, 30), st.integers(1, 40)), min_size=1, max_size=60
    )  # seconds since the one before, tokens
)
def test_window_is_that_of_the_slow_twin(calls: list[tuple[int, int]]) -> None:
    seen: list[tuple[float, int]] = []
    window, now_s, most = SlidingWindow(60.0), 0.0, 0
    for pause_s, amount in calls:
        now_s += pause_s
        wait_s = window.wait_s(now_s, amount, limit=100)
        fits = sum(n for at_s, n in seen if now_s < at_s + 60) + amount <= 100
        assert (wait_s == 0.0) == fits
        if fits:
            window.add(now_s, amount)
            seen.append((now_s, amount))
        else:
            then_s = now_s + wait_s
            rest = [(at_s, n) for at_s, n in seen if then_s < at_s + 60]
            assert sum(n for _, n in rest) + amount <= 100
            leaves = {n for at_s, n in seen if at_s + 60 == then_s}
            assert leaves, "it would have fitted before"
        most = max(most, sum(n for at_s, n in seen if now_s < at_s + 60))
        assert window.total(now_s) == sum(n for at_s, n in seen if now_s < at_s + 60)
    assert window.most == most


def test_window_forgets_what_has_left() -> None:
    window = SlidingWindow(1.0)
    for second in range(25_000):
        window.add(float(second), 1)
        assert window.total(float(second)) == 1
    assert window.wait_s(25_000.5, 2, 1) == math.inf


def test_token_limit_is_exact_and_its_wait_is_true() -> None:
    mock, clock = upstream(limits={"tokens": 3 * TOKENS})
    statuses = []
    for _ in range(4):
        status, headers, _ = read(mock.plan("POST", CHAT, BODY))
        statuses.append(status)
        clock.now_s += 1.0
    assert statuses == [200, 200, 200, 429]
    assert headers["retry-after-ms"] == "57000"
    assert headers["retry-after"] == "57"
    assert headers["x-ratelimit-remaining-tokens"] == "0"
    assert headers["x-ratelimit-reset-tokens"] == "59s"
    clock.now_s += 56.0 - 0.001
    assert read(mock.plan("POST", CHAT, BODY))[0] == 429
    clock.now_s += 0.002
    assert read(mock.plan("POST", CHAT, BODY))[0] == 200
    assert mock.counts.passed.most == 3 * TOKENS
    assert mock.counts.offered.most == 5 * TOKENS


def test_request_limit_is_exact() -> None:
    mock, clock = upstream(limits={"requests": 2, "announce_ms": False})
    plans = [read(mock.plan("POST", CHAT, BODY)) for _ in range(3)]
    assert [status for status, _, _ in plans] == [200, 200, 429]
    assert "retry-after-ms" not in plans[2][1]
    assert plans[0][1]["x-ratelimit-remaining-requests"] == "1"
    clock.now_s += 60.0
    assert read(mock.plan("POST", CHAT, BODY))[0] == 200


def test_refusals_are_not_late_even_where_answers_are() -> None:
    mock, _ = upstream(limits={"requests": 1}, latency={"fixed_s": 2.0})
    assert [mock.plan("POST", CHAT, BODY).delay_s for _ in range(2)] == [2.0, 0.0]
    mock, _ = upstream(faults={"error_429": 1.0}, latency={"fixed_s": 2.0})
    assert mock.plan("POST", CHAT, BODY).delay_s == 0.0


def test_what_never_fits_is_told_no_time() -> None:
    mock, _ = upstream(limits={"tokens": TOKENS - 1})
    status, headers, _ = read(mock.plan("POST", CHAT, BODY))
    assert status == 429
    assert "retry-after" not in headers


def test_calls_inside_an_announced_wait_are_counted() -> None:
    mock, clock = upstream(limits={"tokens": TOKENS, "grace_s": 0.1})
    mock.plan("POST", CHAT, BODY)
    mock.plan("POST", CHAT, BODY)
    clock.now_s += 0.05
    mock.plan("POST", CHAT, BODY)
    assert (mock.counts.on_their_way, mock.counts.violations) == (1, 0)
    clock.now_s += 1.0
    mock.plan("POST", CHAT, BODY)
    assert mock.counts.violations == 1
    clock.now_s += 60.0
    mock.plan("POST", CHAT, BODY)
    assert mock.counts.violations == 1


def test_a_second_shorter_wait_does_not_open_the_first() -> None:
    mock, clock = upstream(faults={"error_429": 1.0}, retry_after_s=30.0)
    mock.plan("POST", CHAT, BODY)
    mock.turn({"retry_after_s": 1.0})
    mock.plan("POST", CHAT, BODY)
    clock.now_s += 10.0
    mock.plan("POST", CHAT, BODY)
    assert mock.counts.violations == 1


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0ms"), (0.02, "20ms"), (1.5, "1.5s"), (60.0, "1m0s"), (100.25, "1m40.25s")],
)
def test_durations_are_written_as_openai_writes_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_latency_follows_its_knobs() -> None:
    points = Latency(quantiles=((0.0, 0.0), (0.5, 0.02), (1.0, 1.02)))
    assert delay_s(points, 0.25, 0.0) == pytest.approx(0.01)
    assert delay_s(points, 0.75, 0.0) == pytest.approx(0.52)
    spikes = Latency(fixed_s=0.1, spike_every_s=10.0, spike_for_s=1.0, spike_factor=5.0)
    assert delay_s(spikes, 0.0, 20.5) == pytest.approx(0.5)
    assert delay_s(spikes, 0.0, 25.0) == pytest.approx(0.1)
    ramp = Latency(fixed_s=0.1, ramp_for_s=10.0, ramp_factor=3.0)
    assert delay_s(ramp, 0.0, 5.0) == pytest.approx(0.2)
    assert delay_s(ramp, 0.0, 50.0) == pytest.approx(0.3)


def test_the_same_request_has_the_same_answer_as_a_whole_and_as_a_stream() -> None:
    mock, _ = upstream()
    first, second = (read(mock.plan("POST", CHAT, BODY))[2] for _ in range(2))
    assert first == second
    wishes = {"max_tokens": 8, "stream": True, "stream_options": {"include_usage": True}}
    plan = mock.plan("POST", CHAT, chat_body(1, "mock", wishes, prompt_characters=40))
    lines = b"".join(plan.frames).split(b"\r\n")
    events = [line[6:].strip() for line in lines if line.startswith(b"data: ")]
    assert len(plan.frames) == 9
    assert json.loads(events[0])["choices"][0]["delta"]["role"] == "assistant"
    assert b"[DONE]" in events[-1]
    assert f'"total_tokens":{TOKENS}'.encode() in events[-1]


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/embeddings", "/v1/scores", CHAT])
def test_every_operation_is_answered(path: str) -> None:
    mock, _ = upstream()
    body = {"model": "mock", "prompt": "hello", "input": ["hello"], "messages": []}
    status, _, answer = read(mock.plan("POST", path, json.dumps(body).encode()))
    assert status == 200
    assert "usage" in json.loads(answer)


def test_metrics_have_the_names_of_vllm() -> None:
    mock, _ = upstream(waiting=3, kv_usage=0.5, adapters=["polite"])
    mock.plan("POST", CHAT, BODY)
    text = read(mock.plan("GET", "/metrics", b""))[2].decode()
    assert 'vllm:num_requests_waiting{model_name="mock"} 3\n' in text
    assert 'vllm:generation_tokens_total{model_name="mock"} 8\n' in text
    assert 'running_lora_adapters="polite"' in text


def test_a_knob_that_is_not_there_is_said() -> None:
    mock, _ = upstream()
    with pytest.raises(ValidationError):
        mock.turn({"speed": 3})
    assert read(mock.plan("POST", "/admin/knobs", b'{"latency": {"slow": 1}}'))[0] == 400
    assert read(mock.plan("POST", CHAT, b"[1, 2"))[0] == 400


def test_faults_come_as_often_as_told() -> None:
    mock, _ = upstream(faults={"error_500": 0.2, "error_429_bare": 0.1})
    for _ in range(2000):
        mock.plan("POST", CHAT, BODY)
    assert mock.counts.outcomes["error_500"] == pytest.approx(400, abs=60)
    assert mock.counts.outcomes["error_429_bare"] == pytest.approx(200, abs=50)
    assert mock.counts.outcomes.total() == 2000


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("error_500", "500"),
        ("error_503", "503"),
        ("error_429", "429"),
        ("reset_before", "reset"),
        ("hang", "timeout"),
        ("garbage", "cut"),
        ("lie_type", "cut"),
        ("lie_length", "closed"),
        ("lie_limits", "429"),
    ],
)
def test_faults_do_what_they_say(fault: str, kind: str) -> None:
    async def ask() -> Answer:
        async with mock_upstream(faults={fault: 1.0}) as served:
            return await asked(served.url, timeout_s=0.3 if fault == "hang" else 10.0)

    answer = asyncio.run(ask())
    assert answer.kind == kind
    if fault in ("garbage", "lie_type"):
        assert answer.status == 200


@pytest.mark.parametrize(
    ("fault", "kind"),
    [("reset_middle", "reset"), ("half_close", "closed"), ("hang_middle", "timeout")],
)
def test_streams_break_in_the_middle(fault: str, kind: str) -> None:
    body = chat_body(1, "mock", {"max_tokens": 8, "stream": True})

    async def ask() -> Answer:
        async with mock_upstream(faults={fault: 1.0}, gap_s=0.001) as served:
            return await asked(served.url, body, 0.5 if fault == "hang_middle" else 10.0)

    answer = asyncio.run(ask())
    assert answer.kind == kind
    assert len(answer.pieces_s) == 4


@pytest.mark.parametrize(
    ("fault", "headers"),
    [
        ("error_429", {"retry-after": "2"}),
        ("error_429_ms", {"retry-after-ms": "1500"}),
        ("error_429_bare", {}),
    ],
)
def test_refusals_say_when_to_come_again(fault: str, headers: dict[str, str]) -> None:
    mock, _ = upstream(faults={fault: 1.0}, retry_after_s=1.5)
    _, told, _ = read(mock.plan("POST", CHAT, BODY))
    assert {name: told[name] for name in told if name.startswith("retry")} == headers


def test_requests_in_a_pipeline_are_answered_in_order() -> None:
    async def ask() -> bytes:
        async with mock_upstream(latency={"fixed_s": 0.01}) as served:
            bodies = [chat_body(index, f"m{index}", {"max_tokens": 2}) for index in range(20)]
            target = Target(served.url + CHAT, tuple(bodies))
            reader, writer = await asyncio.open_connection(*target.address)
            writer.write(b"".join(target.requests()))
            received = b""
            while received.count(b"finish_reason") < 20:
                received += await reader.read(65536)
            writer.close()
            assert served.upstream.counts.most_running == 1
            return received

    received = asyncio.run(ask())
    places = [received.index(f'"model":"m{index}"'.encode()) for index in range(20)]
    assert places == sorted(places)


def test_who_leaves_is_counted_out() -> None:
    async def ask() -> tuple[int, int]:
        async with mock_upstream(latency={"fixed_s": 30.0}) as served:
            answer = await asked(served.url, timeout_s=0.05)
            assert answer.kind == "timeout"
            while served.upstream.counts.running:
                await asyncio.sleep(0.01)
            return served.upstream.counts.left, served.upstream.counts.running

    assert asyncio.run(asyncio.wait_for(ask(), 10)) == (1, 0)


def test_a_process_of_its_own_says_where_it_is_and_ends_when_told() -> None:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "benchmarks.gateway.mock_upstream", "--fault", "error_503=1"]
    environment = os.environ | {"PYTHONPATH": f"{root / 'src'}:{root}"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        answer = asyncio.run(asked(url))
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert answer.status == 503
