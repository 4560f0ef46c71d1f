"""Requests that name a prompt, over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from benchmarks.gateway.mock import MockUpstream

from descant.gateway import Worker, load_gateway_config
from descant.gateway.economy import PromptLibrary
from descant.schema.errors import InvalidConfig
from tests.gateway.mock_upstream import mock_upstream
from tests.gateway.running import CHAT, Running, running, write_file

pytestmark = pytest.mark.anyio

TEMPLATE = """[[messages]]
role = "system"
content = "You answer for {{shop}}."

[[messages]]
role = "user"
content = "{{question}}"
"""
NAMED = {"name": "refund", "version": "3", "variables": {"shop": "Corner", "question": "Where?"}}
WRITTEN = [
    {"role": "system", "content": "You answer for Corner."},
    {"role": "user", "content": "Where?"},
]


def prompts(folder: Path, text: str = TEMPLATE) -> str:
    (folder / "prompts").mkdir(exist_ok=True)
    (folder / "prompts" / "refund@3.toml").write_text(text)
    return f'[prompts]\nfolder = "{folder}/prompts"\n'


@asynccontextmanager
async def prompting(folder: Path) -> AsyncIterator[tuple[Running, MockUpstream]]:
    async with mock_upstream() as served:
        path = write_file(folder, served.url, more=prompts(folder), route="cache_s = 60")
        async with running(path) as gateway:
            yield gateway, served.upstream


def body(**more: Any) -> dict[str, Any]:
    return {"model": "polite", "temperature": 0, "prompt_template": NAMED, **more}


async def test_a_prompt_is_written_out_before_anything_else(tmp_path: Path) -> None:
    async with prompting(tmp_path) as (gateway, _):
        named = await gateway.post(CHAT, body())
        by_id = {"id": "refund", **{key: NAMED[key] for key in ("version", "variables")}}
        again = await gateway.post(CHAT, body(prompt_template=by_id))
        more = [{"role": "assistant", "content": "?"}, {"role": "user", "content": "My parcel"}]
        longer = await gateway.post(CHAT, body(messages=more))
        by_hand = {"model": "polite", "temperature": 0, "messages": WRITTEN}
        plain = await gateway.post(CHAT, orjson.dumps(by_hand))
    assert named.headers["x-descant-prompt"].startswith("refund@3:")
    # The mock's answer depends on every byte that it is sent.
    assert plain.json == named.json
    # Who wrote the prompt out by hand is not known to mean that version of it.
    caches = [each.headers["x-descant-cache"] for each in (named, again, longer, plain)]
    assert caches == ["miss", "hit", "miss", "miss"]
    assert longer.json["usage"]["prompt_tokens"] > plain.json["usage"]["prompt_tokens"]
    assert "x-descant-prompt" not in plain.headers


async def test_another_text_under_the_same_version_is_another_prompt(tmp_path: Path) -> None:
    prompts(tmp_path)
    library = PromptLibrary.read(tmp_path / "prompts")
    before = library.get("refund@3").identity
    prompts(tmp_path, TEMPLATE.replace("answer", "speak"))
    assert PromptLibrary.read(tmp_path / "prompts").get("refund@3").identity != before


@pytest.mark.parametrize(
    ("named", "status", "says"),
    [
        ({**NAMED, "version": "4"}, 404, "refund@4"),
        ({**NAMED, "variables": {"shop": "Corner"}}, 400, "'question' is missing"),
        ({**NAMED, "variables": {**NAMED["variables"], "x": "y"}}, 400, "'x' is not one"),  # type: ignore[dict-item]
        ({**NAMED, "id": "refund"}, 400, "id may stand for name"),
        ({**NAMED, "variables": []}, 400, "object"),
        ({"name": "refund"}, 400, "version"),
        ({**NAMED, "more": 1}, 400, "named as"),
        (None, 400, "named as"),
    ],
)
async def test_a_wrong_prompt_is_refused_by_name(
    tmp_path: Path, named: Any, status: int, says: str
) -> None:
    async with prompting(tmp_path) as (gateway, upstream):
        answer = await gateway.post(CHAT, body(prompt_template=named))
    assert answer.status == status
    assert says in answer.json["error"]["message"]
    assert upstream.counts.requests == 0


async def test_prompts_are_for_chats_and_gateways_that_keep_some(tmp_path: Path) -> None:
    async with prompting(tmp_path) as (gateway, _):
        elsewhere = await gateway.post("/v1/completions", body(prompt="x"))
    async with mock_upstream() as served, running(write_file(tmp_path, served.url)) as gateway:
        nowhere = await gateway.post(CHAT, body())
    assert (elsewhere.status, nowhere.status) == (400, 400)


async def test_a_folder_that_is_not_there_keeps_it_from_starting(tmp_path: Path) -> None:
    more = f'[prompts]\nfolder = "{tmp_path}/none"\n'
    path = write_file(tmp_path, "http://127.0.0.1:9", more=more)
    assert load_gateway_config(path).prompts is not None
    worker = Worker(path)
    with pytest.raises(InvalidConfig, match="is not a folder"):
        await worker.start()
    await worker.lasting.close()
