from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from descant.gateway.cache import Bounds, CachedAnswer, IntermediateStore, LocalStore
from descant.gateway.cache.redis_store import RedisStore, RedisStoreConfig
from descant.gateway.call import Usage
from tests.gateway.cache.calls import Clock, answer

KEY = bytes(range(32))
PATIENT = RedisStoreConfig(timeout_s=5.0)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def redis_port() -> Iterator[int]:
    binary = shutil.which("redis-server") or shutil.which("valkey-server")
    if binary is None:
        pytest.skip("No Redis or Valkey is installed: apt-get install redis-server")
    port = free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    server = subprocess.Popen([binary, *options], stdout=subprocess.DEVNULL)
    try:
        wait_for(port)
        yield port
    finally:
        server.terminate()
        server.wait(10)


def wait_for(port: int) -> None:
    for _ in range(200):
        with socket.socket() as tried:
            if tried.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError("redis-server did not start")


@asynccontextmanager
async def client(port: int) -> AsyncIterator[Redis]:
    found = Redis(host="127.0.0.1", port=port, retry=Retry(NoBackoff(), 0))
    try:
        yield found
    finally:
        await found.aclose()


def test_local_answers_are_bounded_and_expire() -> None:
    async def main() -> None:
        clock = Clock()
        store = LocalStore(Bounds(most_bytes=2000), clock)
        for number in range(20):
            await store.put(b"%d" % number, answer("x" * 100), 60)
            assert store.held_bytes <= 2000
        assert await store.get(b"0") is None
        assert await store.get(b"19") == answer("x" * 100)
        clock.now_s = 60
        assert await store.get(b"19") is None

    asyncio.run(main())


def test_an_answer_survives_its_bytes() -> None:
    one = replace(answer("a\nb"), usage=Usage(5, 4, 3), made_unix_s=1.5)
    assert CachedAnswer.from_bytes(one.to_bytes()) == one
    assert one.age_s(3.5) == 2


@pytest.mark.parametrize("value", [b"", b"{}\nbody", b'{"usage": 5}\n', b"\x80\n", b"[]\n"])
def test_bytes_that_are_no_answer_are_told_apart(value: bytes) -> None:
    with pytest.raises(ValueError):
        CachedAnswer.from_bytes(value)


def test_two_workers_share_answers(redis_port: int) -> None:
    async def main() -> None:
        async with client(redis_port) as one, client(redis_port) as other:
            mine = RedisStore(one, PATIENT, Clock())
            theirs = RedisStore(other, PATIENT, Clock())
            assert await theirs.get(KEY) is None
            await mine.put(KEY, answer(), 60)
            assert await theirs.get(KEY) == answer()
            assert (theirs.counts.hits, theirs.counts.misses) == (1, 1)
            assert 0 < await one.pttl(PATIENT.prefix + KEY.hex()) <= 60_000

    asyncio.run(main())


def test_large_answers_and_what_others_wrote_are_not_taken(redis_port: int) -> None:
    async def main() -> None:
        async with client(redis_port) as one:
            store = RedisStore(one, replace(PATIENT, most_value_bytes=300), Clock())
            await store.put(b"large", answer("x" * 300), 60)
            assert await store.get(b"large") is None
            await one.set(PATIENT.prefix + b"strange".hex(), b"\x80 not ours")
            assert await store.get(b"strange") is None
            assert (store.counts.refused, store.counts.failed) == (1, 1)

    asyncio.run(main())


def test_a_reply_that_belongs_to_another_request_is_not_taken(redis_port: int) -> None:
    async def main() -> None:
        async with client(redis_port) as one:
            store = RedisStore(one, PATIENT, Clock())
            await store.put(b"theirs", answer(), 60)
            value = await one.get(PATIENT.prefix + b"theirs".hex())
            assert isinstance(value, bytes)
            await one.set(PATIENT.prefix + b"mine".hex(), value)
            assert await store.get(b"mine") is None
            assert await store.get(b"theirs") == answer()
            assert store.counts.failed == 1

    asyncio.run(main())


def test_a_reply_that_comes_too_late_is_nobodys_answer() -> None:
    """Two commands share a connection; the first one's reply arrives after its timeout."""

    async def main() -> None:
        late = asyncio.Event()
        value = b"first" + answer("Of the first.").to_bytes()
        reply = b"$%d\r\n%s\r\n" % (len(value), value)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while data := await reader.read(4096):
                if b"GET" in data:
                    if b"first".hex().encode() in data:
                        await late.wait()
                    writer.write(reply)
                else:
                    writer.write(b"+OK\r\n" * data.count(b"*"))
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        clock = Clock()
        async with server, client(port) as slow:
            store = RedisStore(slow, replace(PATIENT, timeout_s=0.2), clock)
            assert await store.get(b"first") is None
            late.set()
            clock.now_s = PATIENT.pause_s
            assert await store.get(b"second") is None
            assert store.counts.failed == 2

    asyncio.run(main())


def test_without_redis_a_request_goes_on_and_it_is_counted() -> None:
    async def main() -> None:
        clock = Clock()
        async with client(free_port()) as nobody:
            store = RedisStore(nobody, PATIENT, clock)
            assert await store.get(KEY) is None
            await store.put(KEY, answer(), 60)
            assert store.counts.failed == 1
            clock.now_s = PATIENT.pause_s
            await store.put(KEY, answer(), 60)
            assert store.counts.failed == 2

    asyncio.run(main())


def test_a_redis_that_hangs_costs_its_timeout_once_in_a_while() -> None:
    async def main() -> None:
        async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        server = await asyncio.start_server(hang, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server, client(port) as silent:
            store = RedisStore(silent, replace(PATIENT, timeout_s=0.05), Clock())
            for _ in range(50):
                assert await store.get(KEY) is None
            assert store.counts.failed == 1

    asyncio.run(main())


def test_intermediate_results_belong_to_a_tenant_and_a_kind() -> None:
    clock = Clock()
    store = IntermediateStore(Bounds(most_bytes=2000), 60, clock)
    store.put("a", "prefix", "k", b"mine")
    assert store.get("a", "prefix", "k") == b"mine"
    others = [
        ("b", "prefix", "k"),
        ("a", "passages", "k"),
        ("a", "prefix", "l"),
        ("ap", "refix", "k"),
    ]
    assert [store.get(*other) for other in others] == [None] * 4
    clock.now_s = 60
    assert store.get("a", "prefix", "k") is None
    for number in range(20):
        store.put("a", "prefix", f"{number}", b"x" * 100)
        assert store.held_bytes <= 2000
    assert store.counts.evicted > 0
