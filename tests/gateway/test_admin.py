"""The pages of those who run the gateway, over HTTP."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.mock_upstream import mock_upstream
from tests.gateway.running import SECRET, Running, running, write_file

pytestmark = pytest.mark.anyio
OTHER = hashlib.sha256(b"other").hexdigest()
ADMIN = f'admin = true\n[keys.other]\nsha256 = "{OTHER}"\n'
SEMANTIC = 'cache_s = 60\n[routes."*".semantic]\nmodel = "embedder"'


async def page(gateway: Running, name: str, secret: str = SECRET) -> Any:
    headers = {"authorization": f"Bearer {secret}"}
    async with gateway.client.get(f"{gateway.url}/admin/{name}", headers=headers) as response:
        return response.status, await response.json()


@asynccontextmanager
async def fronted(folder: Path) -> AsyncIterator[Running]:
    async with mock_upstream() as served:
        path = write_file(folder, served.url, more=ADMIN)
        async with running(path) as gateway:
            yield gateway


@pytest.mark.parametrize("name", ["state", "economy"])
async def test_these_pages_are_for_keys_that_are_said_to(tmp_path: Path, name: str) -> None:
    path = write_file(tmp_path, "http://127.0.0.1:9", more=ADMIN)
    async with running(path) as gateway:
        statuses = [(await page(gateway, name, key))[0] for key in (SECRET, "other", "wrong", "")]
    path.write_text(path.read_text().partition("[keys")[0])
    async with running(path) as gateway:
        statuses.append((await page(gateway, name))[0])
    assert statuses == [200, 403, 401, 401, 403]


async def test_the_economy_says_what_tokens_are_spent_on(tmp_path: Path) -> None:
    system = {"role": "system", "content": "Be brief. " * 20}
    async with fronted(tmp_path) as gateway:
        for number in range(20):
            asked = {"role": "user", "content": f"Where is parcel {number}?"}
            await gateway.chat(messages=[system, asked])
        _, told = await page(gateway, "economy")
    (row,) = told["routes"]
    assert (row["route"], row["requests"]) == ("polite", 20)
    parts = [row[f"{part}_tokens"] for part in ("system", "question", "answer")]
    assert row["total_tokens"] == pytest.approx(sum(parts), abs=2)
    assert row["system_share"] > row["question_share"] > 0
    assert row["constant_read_tokens"] > 0
    assert "too few" in row["max_tokens_reason"]


async def test_the_state_says_where_everything_stands(tmp_path: Path) -> None:
    more = f'{ADMIN}[state]\nledger = "{tmp_path}/usage.sqlite"\n'
    throttled = {"faults": {"error_429": 1.0}, "retry_after_s": 40}
    async with mock_upstream(**throttled) as first, mock_upstream(limits={"requests": 100}) as next:
        path = write_file(tmp_path, first.url, next.url, more=more, route=SEMANTIC)
        async with running(path) as gateway:
            await gateway.chat(temperature=0)
            await gateway.chat(temperature=0)
            await gateway.post("/v1/embeddings", {"model": "e", "input": "text"})
            _, told = await page(gateway, "state")
    upstreams = told["upstreams"]
    assert 30 < upstreams["u0"]["cooldown_s"] <= 40
    assert (upstreams["u1"]["breaker"], upstreams["u1"]["in_flight"]) == ("closed", 0)
    assert upstreams["u1"]["learned_limits"]["polite"] == {"requests": 100}
    assert told["limits"] == {"shared": False}
    assert told["caches"]["exact"]["hits"] == 1
    assert told["caches"]["embedding"]["misses"] == 1
    assert told["caches"]["embedding"]["held_bytes"] > 0
    assert told["caches"]["flights"]["begun"] == 2
    assert (told["semantic"]["*"]["is_open"], told["semantic"]["*"]["counts"]["misses"]) == (
        False,
        1,
    )
    assert told["ledger"]["lost"] == 0
