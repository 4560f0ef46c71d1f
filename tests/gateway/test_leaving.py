"""Who leaves, when, and what that does to what was set aside, to the books and to others."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from descant.gateway import Worker
from descant.gateway.config import ServerConfig
from descant.gateway.exchange import Patience
from descant.gateway.failures import Try
from descant.gateway.limits import InProcessLimits
from descant.gateway.racing import Race
from descant.gateway.reply import AnyReply, StreamedReply, Tally, begun
from tests.gateway.mock_upstream import Served, mock_upstream
from tests.gateway.running import CHAT, SECRET, Answer, Running, read_lines, running, write_file

pytestmark = pytest.mark.anyio


@contextlib.asynccontextmanager
async def before(
    folder: Path, more: str = "", route: str = "", **knobs: Any
) -> AsyncIterator[tuple[Running, Served]]:
    """A gateway in front of one mock, with books."""
    async with mock_upstream(**knobs) as served:
        books = f'[state]\nledger = "{folder}/usage.sqlite"\n'
        path = write_file(folder, served.url, more=more + books, route=route)
        async with running(path) as gateway:
            yield gateway, served


async def books_of(gateway: Running, folder: Path, number: int) -> list[dict[str, Any]]:
    """Return the lines once there are so many."""
    ledger = gateway.worker.lasting.ledger
    assert ledger is not None
    while True:
        await asyncio.to_thread(ledger.flush)
        if len(found := read_lines(folder / "usage.sqlite")) >= number:
            return found
        await asyncio.sleep(0.02)


def held(gateway: Running) -> int:
    limits = gateway.worker.lasting.limits
    assert isinstance(limits, InProcessLimits)
    return len(limits._running) + int(gateway.worker.lasting.memory.view.in_flight("u0"))


async def reload(worker: Worker, path: Path, text: str) -> None:
    """Have another version of the file in force."""
    former = worker.settings
    await asyncio.to_thread(path.write_text, text)
    await worker.reload()
    assert worker.settings is not former


async def test_a_stream_ends_when_its_caller_s_time_does(tmp_path: Path) -> None:
    slow: dict[str, Any] = {"gap_s": 0.05, "least_tokens": 200, "most_tokens": 200}
    async with before(tmp_path, "concurrency = 1\n", **slow) as (gateway, _):
        headers = {"x-deadline-s": "0.5"}
        answer = await gateway.chat(stream=True, max_tokens=200, headers=headers)
        (line,) = await books_of(gateway, tmp_path, 1)
        assert held(gateway) == 0
    assert answer.status == 200
    last = answer.body.decode().strip().split("\n\n")[-1]
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "deadline_exceeded"
    assert (line["outcome"], line["status"]) == ("timed_out", 200)
    assert 0 < line["completion_tokens"] < 200


async def test_a_stream_that_nobody_began_to_read_gives_back_what_it_holds(tmp_path: Path) -> None:
    async with before(tmp_path, "[models.polite]\nconcurrency = 1\n", gap_s=0.01) as (gateway, _):
        worker = gateway.worker
        raw = json.dumps({"model": "polite", "stream": True, "messages": [], "max_tokens": 4})
        headers = {b"authorization": f"Bearer {SECRET}".encode()}
        now_s = worker.lasting.clock()
        call = worker.settings.intake.read("chat", headers, raw.encode(), now_s)
        tally, span = Tally(), worker.begin_span(call, {})
        reply = await worker.settings.answering.ask_shadow(call, tally, span)
        assert isinstance(reply, StreamedReply)
        assert worker.lasting.memory.view.in_flight("u0") == 1
        await reply.close()
        assert worker.lasting.memory.view.in_flight("u0") == 0
    assert tally.is_cut
    assert tally.usage is not None


async def test_who_asks_for_all_and_is_impatient_leaves_alone(tmp_path: Path) -> None:
    slow: dict[str, Any] = {"latency": {"fixed_s": 1.0}}
    async with before(tmp_path, route="cache_s = 60", **slow) as (gateway, served):
        loop = asyncio.get_running_loop()

        async def ask(**headers: str) -> tuple[float, Answer]:
            sent = {name.replace("_", "-"): value for name, value in headers.items()}
            answer = await gateway.chat(temperature=0, headers=sent)
            return loop.time(), answer

        first = asyncio.ensure_future(ask(x_deadline_s="0.3"))
        while not served.upstream.counts.requests:
            await asyncio.sleep(0.01)
        second = asyncio.ensure_future(ask())
        (early_s, impatient), (late_s, patient) = await first, await second
        lines = await books_of(gateway, tmp_path, 2)
    assert served.upstream.counts.requests == 1
    assert (impatient.status, patient.status) == (504, 200)
    assert early_s < late_s
    # Who began it pays for it.
    paid = {line["outcome"]: line["prompt_tokens"] for line in lines if line["upstream"] == "u0"}
    assert list(paid) == ["timed_out"]
    assert paid["timed_out"] == patient.json["usage"]["prompt_tokens"]


async def test_what_no_upstream_may_be_sent_is_said_to_be_too_large(tmp_path: Path) -> None:
    async with before(tmp_path) as (gateway, served):
        path = tmp_path / "gateway.toml"
        text = path.read_text().replace("priority = 0\n", "priority = 0\ntokens_per_minute = 50\n")
        await reload(gateway.worker, path, text)
        answer = await gateway.chat(max_tokens=4000)
    assert answer.status == 429
    assert "retry-after" not in answer.headers
    assert "Make it smaller" in answer.json["error"]["message"]
    assert served.upstream.counts.requests == 0


async def test_a_cascade_that_is_never_sure_is_charged_all_the_same(tmp_path: Path) -> None:
    more = (
        '[cascades.refund.stages.small]\naccept = ["confidence"]\nmin_confidence = 0.99\n'
        '[cascades.refund.stages.large]\naccept = ["confidence"]\nmin_confidence = 0.99\n'
    )
    async with before(tmp_path, more) as (gateway, served):
        answer = await gateway.chat(model="refund")
        (line,) = await books_of(gateway, tmp_path, 1)
        counts = served.upstream.counts
    assert answer.status == 502
    assert (line["attempts"], line["prompt_tokens"]) == (2, counts.prompt_tokens)
    assert line["completion_tokens"] == counts.completion_tokens == 8


async def test_a_kept_answer_that_a_limit_holds_back_is_not_in_the_books(tmp_path: Path) -> None:
    limit = "requests_per_minute = 1\n"
    async with before(tmp_path, limit, route="cache_s = 60") as (gateway, _):
        answers = [await gateway.chat(temperature=0) for _ in range(2)]
        lines = await books_of(gateway, tmp_path, 2)
    assert [answer.status for answer in answers] == [200, 429]
    assert (lines[1]["outcome"], lines[1]["prompt_tokens"]) == ("refused", 0)


async def test_an_announced_wait_outlives_a_change_of_the_settings(tmp_path: Path) -> None:
    throttled: dict[str, Any] = {"faults": {"error_429": 1.0}, "retry_after_s": 60}
    async with before(tmp_path, **throttled) as (gateway, served):
        await gateway.chat()
        path = tmp_path / "gateway.toml"
        text = path.read_text().replace("priority = 0\n", "priority = 0\nweight = 2.0\n")
        await reload(gateway.worker, path, text)
        answer = await gateway.chat()
    assert (answer.status, served.upstream.counts.requests) == (429, 1)


async def test_what_runs_under_former_settings_is_not_cut_by_several_changes(
    tmp_path: Path,
) -> None:
    """The first version retires while calls of the second use the connections it took over."""
    async with mock_upstream() as served:
        path = write_file(tmp_path, served.url)
        async with running(path) as gateway:
            worker = gateway.worker
            first = worker.settings
            await reload(worker, path, path.read_text() + "\n[server]\ndrain_s = 20.0\n")
            second = worker.settings
            await reload(worker, path, path.read_text().replace("[routes", "weight = 3.0\n[routes"))
            third = worker.settings
            assert second.fleet["u0"] is first.fleet["u0"]
            assert second.fleet["u0"] is not third.fleet["u0"]
            brief = replace(first.config, server=ServerConfig(deadline_s=0.001))
            await worker._retire(replace(first, config=brief), second)
            assert not second.fleet["u0"].session.closed
    assert second.fleet["u0"].session.closed
    assert third.fleet["u0"].session.closed


async def test_a_file_that_is_wrong_opens_nothing_and_forgets_nothing(tmp_path: Path) -> None:
    async with mock_upstream() as served:
        path = write_file(tmp_path, served.url)
        async with running(path) as gateway:
            former = gateway.worker.settings
            wrong = '\n[upstreams.a]\nurl = "http://127.0.0.1:9"\n[upstreams.b]\nkey_env = "NONE"\n'
            path.write_text(path.read_text() + wrong + 'url = "http://127.0.0.1:9"\n')
            await gateway.worker.reload()
            assert gateway.worker.settings is former
            assert (await gateway.chat()).status == 200


async def test_a_race_lets_go_of_all_but_the_winner() -> None:
    closed: list[str] = []
    release = asyncio.Event()

    async def pieces(name: str) -> AsyncGenerator[bytes, None]:
        try:
            yield b""
            yield name.encode()
        finally:
            closed.append(name)

    async def visit(name: Any, tally: Tally) -> AnyReply | None:
        tally.visited.append(name)
        await release.wait()
        tally.upstream = name
        return StreamedReply(await begun(pieces(name)), name)

    first, second = cast("Try", "a"), cast("Try", "b")
    race, told = Race(visit, None), Tally()
    race.enter(first)
    race.enter(second)
    assert not await race.has_ended(0.0)
    release.set()
    reply = await race.winner()
    await race.close(told)
    assert reply is not None
    assert closed == ["b"]
    answer = await race.told(reply, told)
    assert isinstance(answer, StreamedReply)
    assert [piece async for piece in answer.pieces] == [b"a"]
    assert closed == ["b", "a"]
    assert (told.upstream, told.visited) == ("a", ["a", "b"])


async def test_impatient_callers_say_nothing_of_an_upstream(tmp_path: Path) -> None:
    slow: dict[str, Any] = {"latency": {"fixed_s": 0.3}}
    async with before(tmp_path, **slow) as (gateway, _):
        brief = {"x-deadline-s": "0.02"}
        hasty = [await gateway.chat(headers=brief) for _ in range(12)]
        patient = await gateway.chat()
        lines = await books_of(gateway, tmp_path, 13)
    assert {answer.status for answer in hasty} == {504}
    assert patient.status == 200
    assert [line["outcome"] for line in lines] == ["timed_out"] * 12 + ["ok"]


async def test_a_stream_that_breaks_off_says_so_and_costs_what_passed(tmp_path: Path) -> None:
    broken: dict[str, Any] = {"faults": {"reset_middle": 1.0}, "gap_s": 0.005}
    async with before(tmp_path, **broken) as (gateway, served):
        answer = await gateway.chat(stream=True, max_tokens=16)
        (line,) = await books_of(gateway, tmp_path, 1)
        assert held(gateway) == 0
    events = answer.body.decode().strip().split("\n\n")
    assert (answer.status, "error" in json.loads(events[-1].removeprefix("data: "))) == (200, True)
    assert served.upstream.counts.requests == 1
    assert (line["outcome"], line["completion_tokens"]) == ("failed", len(events) - 1)


async def test_who_does_not_read_holds_nothing_beyond_its_time(tmp_path: Path) -> None:
    long: dict[str, Any] = {"gap_s": 0, "least_tokens": 60_000, "most_tokens": 60_000}
    async with before(tmp_path, "concurrency = 1\n", **long) as (gateway, _):
        sleepy = socket.socket()
        sleepy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sleepy.connect(("127.0.0.1", int(gateway.url.rpartition(":")[2])))
        body = {"model": "polite", "stream": True, "max_tokens": 60_000, "messages": []}
        raw = json.dumps(body).encode()
        head = f"POST {CHAT} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {SECRET}\r\n"
        head += f"x-deadline-s: 1.0\r\ncontent-length: {len(raw)}\r\n\r\n"
        sleepy.sendall(head.encode() + raw)
        (line,) = await books_of(gateway, tmp_path, 1)
        assert held(gateway) == 0
        sleepy.close()
    assert line["outcome"] == "timed_out"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_second_asking_is_charged_and_told_apart(tmp_path: Path, stream: bool) -> None:
    slow = {"latency": {"fixed_s": 5.0}}
    limit = f'tokens_per_minute = 100_000\n[state]\nledger = "{tmp_path}/usage.sqlite"\n'
    async with mock_upstream(**slow) as first, mock_upstream(gap_s=0.001) as second:
        path = write_file(tmp_path, first.url, second.url, more=limit, route="hedge_share = 1.0")
        async with running(path) as gateway:
            clock, patience = gateway.worker.lasting.clock, gateway.worker.lasting.patience
            for _ in range(60):
                hedge = patience.hedge("polite", 1.0, clock())
                assert hedge is not None
                hedge.first_byte(clock())
            answer = await gateway.chat(stream=stream)
            lines = await books_of(gateway, tmp_path, 2)
            assert held(gateway) == 0
            account = gateway.worker.lasting.limits._accounts["key:team"]  # type: ignore[attr-defined]
            (taken,) = [window.taken for window in account._windows.values()]
    assert (answer.status, answer.headers["x-descant-upstream"]) == (200, "u1")
    told = {line["kind"]: (line["upstream"], line["completion_tokens"]) for line in lines}
    assert told == {"answer": ("u1", 4), "hedge": ("u0", 0)}
    assert taken == sum(line["prompt_tokens"] + line["completion_tokens"] for line in lines)


def test_names_that_callers_make_up_do_not_fill_the_memory() -> None:
    patience = Patience()
    for number in range(3000):
        patience.hedge(f"model-{number}", 0.5, 0.0)
    assert len(patience.hedging) == 1024
