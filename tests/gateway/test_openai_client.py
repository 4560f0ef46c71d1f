"""What users of the openai package call, through the gateway: over HTTP, a mock upstream behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from benchmarks.gateway.mock import MockUpstream

from tests.gateway.mock_upstream import mock_upstream
from tests.gateway.running import SECRET, Running, running, write_file

pytestmark = pytest.mark.anyio
ASKED: dict[str, Any] = {
    "model": "mock",
    "messages": [{"role": "user", "content": "Hello"}],
    "max_tokens": 4,
}


@dataclass
class Front:
    """A gateway before a mock, and a client of it."""

    gateway: Running
    mock: MockUpstream
    client: openai.AsyncOpenAI


def listing(file: Path) -> Path:
    """Let upstreams be asked what they serve."""
    file.write_text(file.read_text().replace("list_models = false", "list_models = true"))
    return file


@asynccontextmanager
async def front(
    folder: Path, more: str = "", secret: str = SECRET, **knobs: Any
) -> AsyncIterator[Front]:
    async with (
        mock_upstream(gap_s=0, **knobs) as served,
        running(listing(write_file(folder, served.url, more=more))) as gateway,
        openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=secret, max_retries=0) as client,
    ):
        yield Front(gateway, served.upstream, client)


async def test_chats_completions_and_embeddings(tmp_path: Path) -> None:
    async with front(tmp_path) as it:
        chat = await it.client.chat.completions.create(**ASKED)
        text = await it.client.completions.create(model="mock", prompt="Hello", max_tokens=4)
        vectors = await it.client.embeddings.create(model="mock", input=["one", "two"])
    assert chat.choices[0].message.content
    assert text.choices[0].text
    assert chat.usage is not None
    assert chat.usage.completion_tokens == 4
    assert [each.index for each in vectors.data] == [0, 1]


async def test_a_stream_tells_its_usage_to_who_asks_for_it_alone(tmp_path: Path) -> None:
    async with front(tmp_path) as it:
        usages = []
        for options in ({}, {"stream_options": {"include_usage": True}}):
            stream = await it.client.chat.completions.create(**ASKED, stream=True, **options)
            usages.append([chunk.usage async for chunk in stream if chunk.usage])
    assert usages[0] == []
    assert [usage.completion_tokens for usage in usages[1]] == [4]


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"messages": "none"}, openai.BadRequestError),
        ({"model": "closed"}, openai.NotFoundError),
        ({"model": ""}, openai.BadRequestError),
    ],
)
async def test_a_mistake_in_a_request(
    tmp_path: Path, changes: dict[str, Any], error: type[openai.APIStatusError]
) -> None:
    async with front(tmp_path, 'models = ["mock"]\n') as it:
        with pytest.raises(error) as caught:
            await it.client.chat.completions.create(**{**ASKED, **changes})
    assert caught.value.type == "invalid_request_error"
    assert caught.value.request_id


async def test_a_wrong_key(tmp_path: Path) -> None:
    async with front(tmp_path, secret="wrong") as it:
        with pytest.raises(openai.AuthenticationError):
            await it.client.chat.completions.create(**ASKED)
        with pytest.raises(openai.AuthenticationError):
            await it.client.models.list()


async def test_a_retry_comes_after_the_announced_wait_and_succeeds(tmp_path: Path) -> None:
    async with front(tmp_path, faults={"error_429_ms": 1.0}, retry_after_s=0.3) as it:
        with pytest.raises(openai.RateLimitError) as caught:
            await it.client.chat.completions.create(**ASKED)
        patient = it.client.with_options(max_retries=3)
        waiting = asyncio.ensure_future(patient.chat.completions.create(**ASKED))
        it.mock.turn({"faults": {}})
        answer = await waiting
    assert 300 <= int(caught.value.response.headers["retry-after-ms"]) <= 1000
    assert answer.choices
    assert (it.mock.counts.outcomes["answered"], it.mock.counts.violations) == (1, 0)


async def test_a_key_that_has_used_its_requests(tmp_path: Path) -> None:
    async with front(tmp_path, "requests_per_minute = 1\n") as it:
        await it.client.chat.completions.create(**ASKED)
        with pytest.raises(openai.RateLimitError) as caught:
            await it.client.chat.completions.create(**ASKED)
    assert caught.value.type == "rate_limit_error"
    assert 1 <= int(caught.value.response.headers["retry-after"]) <= 61


async def test_upstreams_that_fail_or_are_silent(tmp_path: Path) -> None:
    async with front(tmp_path, faults={"error_500": 1.0}) as it:
        with pytest.raises(openai.InternalServerError):
            await it.client.chat.completions.create(**ASKED)
    async with front(tmp_path, faults={"hang": 1.0}) as it:
        with pytest.raises(openai.APITimeoutError):
            await it.client.with_options(timeout=0.3).chat.completions.create(**ASKED)
        with pytest.raises(openai.InternalServerError, match="no answer within"):
            headers = {"x-deadline-s": "0.2"}
            await it.client.chat.completions.create(**ASKED, extra_headers=headers)


async def test_models_of_the_file_and_of_the_upstream(tmp_path: Path) -> None:
    more = 'models = ["m*"]\n[cascades.many.stages.mock]\n'
    async with front(tmp_path, more, models=("mock", "my/own", "other")) as it:
        async with asyncio.timeout(10):
            while len(found := [model.id async for model in it.client.models.list()]) < 3:
                await asyncio.sleep(0.02)
        one = await it.client.models.retrieve("my/own")
        for missing in ("other", "mnone"):
            with pytest.raises(openai.NotFoundError):
                await it.client.models.retrieve(missing)
        home = (await it.gateway.get("/")).json
    assert found == ["many", "mock", "my/own"]
    assert one.id == "my/own"
    assert home == {"name": "descant gateway", "models": "/v1/models"}


async def test_an_azure_client_is_answered_as_well(tmp_path: Path) -> None:
    async with (
        front(tmp_path) as it,
        openai.AsyncAzureOpenAI(
            azure_endpoint=it.gateway.url,
            api_key=SECRET,
            api_version="2024-10-21",
            max_retries=0,
            http_client=httpx.AsyncClient(),
        ) as azure,
    ):
        chat = await azure.chat.completions.create(**ASKED)
        vectors = await azure.embeddings.create(model="mock", input="one")
        with pytest.raises(openai.NotFoundError):
            await azure.get("/nowhere", cast_to=httpx.Response)
    assert chat.model == "mock"
    assert len(vectors.data) == 1
