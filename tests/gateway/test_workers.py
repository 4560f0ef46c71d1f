"""Several worker processes with one Redis: they count together, and one that dies leaves nothing."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import redis
from benchmarks.gateway.mock import MockUpstream

from tests.gateway.limits.redis_server import RedisServer
from tests.gateway.many_workers import NUM_WORKERS, ManyWorkers, is_worker, many_workers
from tests.gateway.mock_upstream import mock_upstream
from tests.gateway.running import CHAT, SECRET, Asking, read_lines, running, write_file

pytestmark = pytest.mark.anyio
SLOW = {"latency": {"fixed_s": 100.0}}
QUICK = {"latency": {"fixed_s": 0.0}}
FREE = "another"
"""The secret of a key whose limit nothing here reaches."""
AS_FREE = {"authorization": f"Bearer {FREE}"}
_WITHIN_S = 60.0


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    server = RedisServer()
    yield server
    server.kill()


@asynccontextmanager
async def crowd(
    folder: Path, server: RedisServer, limits: str, **knobs: Any
) -> AsyncIterator[tuple[ManyWorkers, MockUpstream]]:
    """Two workers before one mock; the test's key has these limits, the other key room."""
    more = (
        f'{limits}\n[keys.free]\nsha256 = "{hashlib.sha256(FREE.encode()).hexdigest()}"\nconcurrency = 50\n'
        f'[state]\nredis = "{server.url}"\nledger = "{folder}/usage.sqlite"\n'
    )
    async with mock_upstream(**knobs) as served:
        path = write_file(folder, served.url, more=more, route="cache_s = 60")
        async with many_workers(path) as gateway:
            yield gateway, served.upstream


async def until_status(gateway: ManyWorkers, status: int) -> None:
    # Sooner than a worker that a test stopped is taken for one that hangs.
    async with asyncio.timeout(25):
        while True:
            if await gateway.ask_anew() == status:
                return
            await asyncio.sleep(0.1)


async def test_workers_share_limits_and_answers(tmp_path: Path, redis_server: RedisServer) -> None:
    limit = 200
    async with crowd(tmp_path, redis_server, f"tokens_per_minute = {limit}") as (gateway, mock):
        first, second = gateway.pids()
        for pid in (first, second):
            with gateway.only(pid):
                body: Mapping[str, Any] = {"temperature": 0, "headers": AS_FREE}
                assert await gateway.ask_anew("Cached", **body) == 200
        assert mock.counts.requests == 1
        async with aiohttp.ClientSession() as client:
            asking = Asking(gateway.url, client)
            answers = await asyncio.gather(*(asking.chat(f"Hello {i}") for i in range(50)))
        taken = [answer.json["usage"]["total_tokens"] for answer in answers if answer.status == 200]
        assert 0 < sum(taken) <= limit + max(taken)
        assert Counter(answer.status for answer in answers).keys() == {200, 429}
        for pid in (first, second):
            with gateway.only(pid):
                assert await gateway.ask_anew(max_tokens=limit) == 429
        await go_on_without(redis_server, gateway)
        # Without their supervisor they end too, and hold no port.
        gateway.process.kill()
        async with asyncio.timeout(_WITHIN_S):
            while is_worker(first) or is_worker(second):
                await asyncio.sleep(0.05)


async def go_on_without(server: RedisServer, gateway: ManyWorkers) -> None:
    """Stop Redis and let it go on, kill it and start it anew: every request is answered."""
    await all_workers_are(1, gateway)
    for lose, come_back in ((server.pause, server.go_on), (server.kill, server.start)):
        lose()
        await all_workers_are(0, gateway)
        answers = [gateway.ask_anew(f"Hello {n}", headers=AS_FREE) for n in range(20)]
        assert set(await asyncio.gather(*answers)) == {200}
        come_back()
        await all_workers_are(1, gateway)
    assert {(await gateway.figures(n))["limits_losses_total"] for n in (0, 1)} == {2}


async def all_workers_are(shared: float, gateway: ManyWorkers) -> None:
    for pid in gateway.pids():
        with gateway.only(pid):
            assert await gateway.ask_anew(f"Is it {shared}?", headers=AS_FREE) == 200
    for worker in range(NUM_WORKERS):
        await gateway.until_figure(worker, "limits_shared", shared)


async def test_a_killed_worker_leaves_nothing_behind(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    async with crowd(tmp_path, redis_server, "concurrency = 2", **SLOW) as (gateway, mock):
        living, dying = gateway.pids()
        with gateway.only(dying):
            lost = [asyncio.create_task(gateway.ask_anew(f"Lost {i}")) for i in range(2)]
            while mock.counts.requests < 2:
                await asyncio.sleep(0.02)
        mock.turn(QUICK)
        seen: list[tuple[int, str]] = []
        is_over = asyncio.Event()

        async def go_on_asking() -> None:
            async with aiohttp.ClientSession() as client:
                asking = Asking(gateway.url, client)
                while not is_over.is_set():
                    answer = await asking.chat(f"Hello {len(seen)}", headers=AS_FREE)
                    seen.append((answer.status, answer.headers["x-request-id"]))
                    await asyncio.sleep(0.02)

        with gateway.only(living):
            caller = asyncio.create_task(go_on_asking())
            while not seen:
                await asyncio.sleep(0.02)
            assert await gateway.ask_anew() == 429
        os.kill(dying, signal.SIGKILL)
        assert all(
            isinstance(error, aiohttp.ClientError)
            for error in await asyncio.gather(*lost, return_exceptions=True)
        )
        await until_status(gateway, 200)
        while living not in (pids := gateway.pids()) or len(pids) < NUM_WORKERS:
            await asyncio.sleep(0.05)
        for worker in range(NUM_WORKERS):
            await gateway.until_figure(worker, "limits_shared", 1)
        is_over.set()
        await caller
        assert {status for status, _ in seen} == {200}
        mock.turn(SLOW)
        assert await broken_off(gateway, mock) == 503
    lines = read_lines(tmp_path / "usage.sqlite")
    ids = Counter(line["id"] for line in lines)
    assert max(ids.values()) == 1
    assert {request_id for _, request_id in seen} <= ids.keys()
    assert [line["outcome"] for line in lines if line["status"] == 503] == ["failed"]


async def broken_off(gateway: ManyWorkers, mock: MockUpstream) -> int:
    """Return how a request is answered that two signals break off."""
    before = mock.counts.requests
    asking = asyncio.create_task(gateway.ask_anew("Broken off", headers=AS_FREE))
    while mock.counts.requests == before:
        await asyncio.sleep(0.02)
    gateway.process.send_signal(signal.SIGTERM)
    await until_refused(gateway)
    gateway.process.send_signal(signal.SIGTERM)
    return await asking


async def test_every_worker_reads_the_file_again_and_ends_in_order(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    knobs = {"gap_s": 0.4, "least_tokens": 10, "most_tokens": 10}
    async with crowd(tmp_path, redis_server, 'models = ["*"]', **knobs) as (gateway, _):
        first, second = gateway.pids()
        path = tmp_path / "gateway.toml"
        rewrite_unseen(path, '"*"]', '"x"]')
        gateway.process.send_signal(signal.SIGHUP)
        for status in (404, 200):
            for pid in (first, second):
                with gateway.only(pid):
                    await until_status(gateway, status)
            path.write_text(path.read_text().replace('"x"]', '"*"]'))
        headers = {"authorization": f"Bearer {SECRET}"}
        message = {"role": "user", "content": "Hello"}
        body = {"model": "polite", "stream": True, "max_tokens": 10, "messages": [message]}
        with gateway.only(second):
            response = await gateway.client.post(gateway.url + CHAT, json=body, headers=headers)
        assert await response.content.readline()
        gateway.process.send_signal(signal.SIGTERM)
        await until_refused(gateway)
        refused = await Asking(gateway.url, gateway.client).chat()
        assert (refused.status, refused.headers["retry-after"]) == (503, "5")
        assert (await response.read()).endswith(b"data: [DONE]\n\n")
        assert await asyncio.to_thread(gateway.process.wait, _WITHIN_S) == 0
        with pytest.raises(aiohttp.ClientConnectorError):
            await gateway.ask_anew()


def rewrite_unseen(path: Path, old: str, new: str) -> None:
    """Change a file so that nobody sees it who looks at its times and size alone."""
    before = path.stat()
    path.write_text(path.read_text().replace(old, new))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


async def until_refused(gateway: ManyWorkers) -> None:
    async with asyncio.timeout(_WITHIN_S):
        while True:
            try:
                async with aiohttp.ClientSession() as client:
                    answer = await Asking(gateway.url, client).get("/ready")
            except aiohttp.ClientError:
                continue  # It came to a worker that was just leaving.
            if answer.status == 503:
                return


async def test_a_wiped_redis_learns_again_what_was_spent(
    tmp_path: Path, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("descant.gateway.worker._SEED_S", 0.05)
    more = (
        f'money_per_day = 1.0\n[state]\nredis = "{redis_server.url}"\n'
        f'ledger = "{tmp_path}/usage.sqlite"\n'
    )
    async with mock_upstream() as served:
        path = write_file(tmp_path, served.url, more=more)
        path.write_text(path.read_text().replace("priority", "write_price = 240000.0\npriority"))
        async with running(path) as gateway:
            # A completion of 4 tokens costs nearly all there is.
            assert (await gateway.chat()).status == 200
            assert (await gateway.chat()).status == 429
            with redis.Redis.from_url(redis_server.url) as store:
                store.flushall()
                async with asyncio.timeout(_WITHIN_S):
                    while not store.hget("{descant}:key:team:m", "day:spent"):
                        await asyncio.sleep(0.02)
            answer = await gateway.chat()
    assert answer.status == 429
    assert "money a day" in answer.json["error"]["message"]
