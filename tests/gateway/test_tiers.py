"""What the gateway keeps of answers, over HTTP."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from benchmarks.gateway.mock import MockUpstream

from descant.gateway import load_gateway_config
from descant.gateway.cache.false_hits import FalseHitState
from descant.schema.errors import InvalidConfig
from tests.gateway.limits.redis_server import RedisServer
from tests.gateway.mock_upstream import mock_upstream
from tests.gateway.running import Answer, Running, read_lines, running, write_file

pytestmark = pytest.mark.anyio
CACHED = "cache_s = 60"


def told(answer: Answer) -> str | None:
    return answer.headers.get("x-descant-cache")


@asynccontextmanager
async def fronted(
    folder: Path, route: str = CACHED, more: str = "", **knobs: Any
) -> AsyncIterator[tuple[Running, MockUpstream]]:
    """A gateway that keeps answers, in front of a mock."""
    async with mock_upstream(**knobs) as served:
        path = write_file(folder, served.url, more=more, route=route)
        async with running(path) as gateway:
            yield gateway, served.upstream


async def test_an_answer_says_whether_it_was_kept_and_how_old_it_is(tmp_path: Path) -> None:
    async with fronted(tmp_path, latency={"fixed_s": 0.2}) as (gateway, _):
        both = await asyncio.gather(*(gateway.chat(temperature=0) for _ in range(2)))
        again = await gateway.chat(temperature=0)
        sampled = await gateway.chat(temperature=1)
        anew = await gateway.chat(temperature=0, headers={"cache-control": "no-cache"})
    assert sorted(str(told(answer)) for answer in both) == ["miss", "shared"]
    assert (told(again), again.headers["age"]) == ("hit", "0")
    assert (told(sampled), told(anew)) == (None, None)
    assert "age" not in anew.headers


async def test_who_asks_anew_asks_alone_and_what_comes_is_kept(tmp_path: Path) -> None:
    anew = {"cache-control": "no-cache"}
    async with fronted(tmp_path, latency={"fixed_s": 0.1}) as (gateway, upstream):
        await asyncio.gather(*(gateway.chat(temperature=0, headers=anew) for _ in range(2)))
        assert told(await gateway.chat(temperature=0)) == "hit"
    assert upstream.counts.requests == 2


async def test_what_a_canary_answers_is_kept_apart(tmp_path: Path) -> None:
    async with fronted(tmp_path) as (gateway, upstream):
        path = tmp_path / "gateway.toml"
        await gateway.chat(temperature=0)
        before = gateway.worker.settings
        canary = f'{CACHED}\ncanary_model = "next"\ncanary_share = 1.0'
        path.write_text(path.read_text().replace(CACHED, canary))
        while gateway.worker.settings is before:
            await asyncio.sleep(0.05)
        answers = [await gateway.chat(temperature=0) for _ in range(2)]
    assert [(told(answer), answer.json["model"]) for answer in answers] == [
        ("miss", "next"),
        ("hit", "next"),
    ]
    assert upstream.counts.requests == 2


async def test_who_reads_a_stream_along_is_told_so(tmp_path: Path) -> None:
    async with fronted(tmp_path, gap_s=0.02) as (gateway, _):
        asked = (gateway.chat(temperature=0, stream=True) for _ in range(2))
        both = await asyncio.gather(*asked)
    assert {(told(a), a.headers["x-descant-upstream"]) for a in both} == {
        ("miss", "u0"),
        ("shared", "cache"),
    }


async def test_a_route_may_keep_answers_that_were_drawn_at_random(tmp_path: Path) -> None:
    async with fronted(tmp_path, f"{CACHED}\ncache_sampled = true") as (gateway, _):
        answers = [await gateway.chat(temperature=1) for _ in range(2)]
    assert [told(answer) for answer in answers] == ["miss", "hit"]


async def test_no_answer_is_older_than_the_route_says_now(tmp_path: Path) -> None:
    async with fronted(tmp_path) as (gateway, _):
        path = tmp_path / "gateway.toml"
        await gateway.chat(temperature=0)
        before = gateway.worker.settings
        path.write_text(path.read_text().replace("cache_s = 60", "cache_s = 0.001"))
        while gateway.worker.settings is before:
            await asyncio.sleep(0.05)
        assert told(await gateway.chat(temperature=0)) == "miss"


async def listed(gateway: Running, text: str) -> None:
    """Wait until the gateway knows this content."""
    contents = gateway.worker.lasting.contents
    while text not in str(contents._listed):
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/scores"])
async def test_the_successor_of_an_adapter_answers_for_itself(tmp_path: Path, path: str) -> None:
    body = {"model": "polite", "temperature": 0, "messages": [{"role": "user", "content": "Hi"}]}
    if path == "/v1/scores":
        turns = [{"speaker": "agent", "text": "Good morning."}]
        body = {"indicators": ["polite"], "conversation": {"turns": turns}}
    async with mock_upstream(content_hashes={"polite": "sha256:a", "other": "sha256:x"}) as served:
        file = write_file(tmp_path, served.url, route=CACHED)
        file.write_text(file.read_text().replace("[routes", 'dialect = "descant"\n[routes'))
        async with running(file) as gateway:
            await listed(gateway, "sha256:a")
            first = [told(await gateway.post(path, body)) for _ in range(2)]
            served.upstream.turn({"content_hashes": {"polite": "sha256:a", "other": "sha256:y"}})
            await listed(gateway, "sha256:y")
            still = told(await gateway.post(path, body))
            served.upstream.turn({"content_hashes": {"polite": "sha256:b"}})
            await listed(gateway, "sha256:b")
            then = told(await gateway.post(path, body))
    assert (first, still, then) == (["miss", "hit"], "hit", "miss")


async def test_workers_share_answers_and_keep_what_they_found(tmp_path: Path) -> None:
    server = RedisServer()
    try:
        async with mock_upstream() as served:
            more = f'[state]\nredis = "{server.url}"\n'
            path = write_file(tmp_path, served.url, more=more, route=CACHED)
            async with running(path) as one, running(path) as other:
                answers = [await each.chat(temperature=0) for each in (one, other)]
                server.kill()
                answers.append(await other.chat(temperature=0))
        assert [told(answer) for answer in answers] == ["miss", "hit", "hit"]
        assert served.upstream.counts.requests == 1
    finally:
        server.kill()


EMBED = "/v1/embeddings"


async def lines(gateway: Running, folder: Path) -> list[dict[str, Any]]:
    ledger = gateway.worker.lasting.ledger
    assert ledger is not None
    await asyncio.to_thread(ledger.flush)
    return read_lines(folder / "usage.sqlite")


def books(folder: Path) -> str:
    return f'[state]\nledger = "{folder}/usage.sqlite"\n'


def vectors(answer: Answer) -> list[Any]:
    return [(row["index"], row["embedding"]) for row in answer.json["data"]]


async def test_of_a_batch_only_unknown_inputs_are_asked_and_paid_for(tmp_path: Path) -> None:
    batch = ["b" * 40, "a" * 40, "c" * 80, "a" * 40]
    async with fronted(tmp_path, more=books(tmp_path)) as (gateway, upstream):
        await gateway.post(EMBED, {"model": "e", "input": "a" * 40})
        mixed = await gateway.post(EMBED, {"model": "e", "input": batch})
        known = await gateway.post(EMBED, {"model": "e", "input": batch[::-1]})
        anew = await gateway.post(
            EMBED, {"model": "e", "input": batch}, {"cache-control": "no-cache"}
        )
        found = await lines(gateway, tmp_path)
    assert [told(answer) for answer in (mixed, known, anew)] == ["miss", "hit", None]
    assert mixed.json["usage"]["prompt_tokens"] == 30
    assert upstream.counts.requests == 3
    direct = [vector for _, vector in vectors(anew)]
    assert vectors(mixed) == list(enumerate(direct))
    assert vectors(known) == list(enumerate(direct[::-1]))
    assert sorted((line["outcome"], line["prompt_tokens"]) for line in found) == [
        ("cached", 0),
        ("ok", 10),
        ("ok", 30),
        ("ok", 40),
    ]


async def test_two_batches_with_the_same_unknown_rest_ask_once(tmp_path: Path) -> None:
    async with fronted(tmp_path, latency={"fixed_s": 0.2}) as (gateway, upstream):
        await gateway.post(EMBED, {"model": "e", "input": "a"})
        inputs = (["a", "b"], ["b", "a"])
        asked = (gateway.post(EMBED, {"model": "e", "input": each}) for each in inputs)
        one, other = await asyncio.gather(*asked)
    assert upstream.counts.requests == 2
    assert [vector for _, vector in vectors(one)] == [vector for _, vector in vectors(other)][::-1]
    assert sorted(str(told(answer)) for answer in (one, other)) == ["miss", "shared"]


async def test_what_cannot_be_split_is_the_upstream_s_to_judge(tmp_path: Path) -> None:
    async with fronted(tmp_path) as (gateway, upstream):
        answers = [await gateway.post(EMBED, {"model": "e", "input": []}) for _ in range(2)]
    assert [answer.status for answer in answers] == [200, 200]
    assert upstream.counts.requests == 1


async def _parrot(request: web.Request) -> web.Response:
    """Answers with the question's first word; the second word alone turns its vector, a little."""
    body = await request.json()
    usage = {"prompt_tokens": 7, "completion_tokens": 1, "total_tokens": 8}
    if request.path == EMBED:
        topic, number = body["input"][0].split()[:2]
        vector = [float(topic == "parcel"), float(topic == "bill"), int(number) / 1e6]
        data = [{"object": "embedding", "index": 0, "embedding": vector}]
        data = [] if topic == "mute" else data
        return web.json_response({"object": "list", "data": data, "usage": usage})
    topic, *rest = body["messages"][-1]["content"].split()
    message = {"role": "assistant", "content": rest[-1] if "lie" in rest else topic}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    answer = {"id": "a", "object": "chat.completion", "model": "m", "choices": [choice]}
    return web.json_response({**answer, "usage": usage})


SEMANTIC = f"""{CACHED}
[routes."*".semantic]
model = "embedder"
most_false_share = 0.3
"""


@asynccontextmanager
async def parroted(folder: Path, route: str = SEMANTIC, more: str = "") -> AsyncIterator[Running]:
    """A gateway in front of an upstream that answers questions on one topic alike."""
    app = web.Application()
    app.router.add_post("/{any:.*}", _parrot)
    server = TestServer(app)
    await server.start_server()
    try:
        path = write_file(folder, str(server.make_url("")), more=more, route=route)
        async with running(path) as gateway:
            yield gateway
    finally:
        await server.close()


async def asked(gateway: Running, texts: Iterable[str]) -> list[str | None]:
    return [told(await gateway.chat(text, temperature=0)) for text in texts]


def state(gateway: Running) -> FalseHitState:
    ((_, found),) = gateway.worker.lasting.semantics.states()
    return found


async def figure(gateway: Running, name: str) -> float:
    page = (await gateway.get("/metrics")).body.decode()
    line = re.search(
        rf'^descant_gateway_semantic_{name}{{route="\*",.*}} (.*)$', page, re.MULTILINE
    )
    assert line is not None
    return float(line[1])


async def test_the_semantic_tier_serves_once_it_is_known_to_be_right_and_ends_when_wrong(
    tmp_path: Path,
) -> None:
    async with parroted(tmp_path) as gateway:
        first = await asked(gateway, ["parcel 0", "bill 0", "parcel 1"])
        learned, is_open = state(gateway).checks, [await figure(gateway, "open")]
        warm = await asked(gateway, (f"parcel {number}" for number in range(2, 80)))
        is_open.append(await figure(gateway, "open"))
        assert await figure(gateway, "false_share_bound") <= 0.1
        await asked(gateway, (f"parcel {number} lie {number}" for number in range(100, 180)))
        is_open.append(await figure(gateway, "open"))
        shut = state(gateway)
    assert (first, learned) == (["miss"] * 3, 1)
    assert {"miss", "semantic"} == set(warm)
    assert is_open == [0, 1, 0]
    assert shut.epoch == 2
    assert shut.served >= warm.count("semantic")


async def test_a_similar_answer_comes_in_the_form_that_was_asked_for(tmp_path: Path) -> None:
    async with parroted(tmp_path, more=books(tmp_path)) as gateway:
        await asked(gateway, (f"parcel {number}" for number in range(60)))
        found = []
        for number in range(60, 120):
            answer = await gateway.chat(f"parcel {number}", temperature=0, stream=True)
            found += [answer] if told(answer) == "semantic" else []
        rows = await lines(gateway, tmp_path)
    assert found[0].body.endswith(b"data: [DONE]\n\n")
    assert b'"content":"parcel"' in found[0].body
    assert "age" in found[0].headers
    stages = [row for row in rows if row["kind"] == "stage"]
    assert {(row["model"], row["tenant"], row["prompt_tokens"]) for row in stages} == {
        ("embedder", "quality", 7)
    }
    assert len(stages) == 120
    # A similar answer is free: neither tokens nor money of the caller's limits.
    assert sum(row["outcome"] == "cached" for row in rows) >= len(found)


@pytest.mark.parametrize("more", [{"temperature": 1}, {"headers": {"cache-control": "max-age=5"}}])
async def test_who_wants_the_answer_to_this_very_question_gets_it(
    tmp_path: Path, more: dict[str, Any]
) -> None:
    async with parroted(tmp_path) as gateway:
        for number in range(3):
            await gateway.chat(f"parcel {number}", **more)
        assert state(gateway).checks == 0


async def test_without_a_vector_requests_go_on(tmp_path: Path) -> None:
    async with parroted(tmp_path) as gateway:
        answers = [await gateway.chat("mute 1", temperature=0) for _ in range(2)]
        tier = gateway.worker.lasting.semantics.of("*")
    assert [(answer.status, told(answer)) for answer in answers] == [(200, "miss"), (200, "hit")]
    assert tier is not None
    assert tier.cache.counts.failed == 1


async def test_a_tier_keeps_what_it_learned_until_its_settings_change(tmp_path: Path) -> None:
    async with parroted(tmp_path) as gateway:
        await asked(gateway, ["parcel 0", "parcel 1"])
        path, checks = tmp_path / "gateway.toml", []
        for old, new in (("u0", "u0"), ("= 0.3", "= 0.2")):
            before = gateway.worker.settings
            path.write_text(path.read_text().replace(old, new) + "# read again\n")
            while gateway.worker.settings is before:
                await asyncio.sleep(0.05)
            checks.append(state(gateway).checks)
    assert checks == [1, 0]


@pytest.mark.parametrize(
    "route", ['semantic = { model = "e" }', 'cache_s = 5\nsemantic = { model = "" }']
)
def test_a_semantic_tier_needs_what_it_is_made_of(tmp_path: Path, route: str) -> None:
    path = write_file(tmp_path, "http://127.0.0.1:9", route=route)
    path.write_text(path.read_text().replace('[routes."*"]', '[routes."chat-*"]'))
    with pytest.raises(InvalidConfig):
        load_gateway_config(path)
