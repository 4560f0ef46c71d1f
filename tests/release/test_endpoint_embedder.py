"""Embeddings over HTTP: Descant's own are those of the server, and any other's are kept and checked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from descant.evaluation import Unscored
from descant.release import EndpointEmbedder, EndpointPlan
from descant.schema.errors import BudgetSpent, InvalidConfig
from tests.distillation.teacher_server import Act, Body, Send, TeacherServer, reply, sends, teaching
from tests.server.live import live, load, write_served


def embeds(vector_of: Any) -> Act:
    async def act(body: Body, send: Send) -> None:
        vector = vector_of(body["input"])
        usage = {"prompt_tokens": 4, "total_tokens": 4}
        document = {"data": [{"index": 0, "embedding": vector}], "usage": usage}
        await reply(send, 200, json.dumps(document))

    return act


@pytest.fixture
def server() -> Iterator[TeacherServer]:
    with teaching(TeacherServer()) as teacher:
        teacher.act = embeds(lambda text: [float(len(text)), 1.0])
        yield teacher


def embedder(address: str, folder: Path, **plan: Any) -> EndpointEmbedder:
    return EndpointEmbedder(EndpointPlan(address, **{"model": "m"} | plan), folder / "a.jsonl")


def test_vectors_come_through_faults_and_are_asked_once(
    server: TeacherServer, tmp_path: Path
) -> None:
    server.then(sends(500), sends(429, "", Retry_After="0.01"), sends(200, "no JSON"))
    texts = ["one", "three", " ", "one"]
    made = embedder(server.address, tmp_path)
    first, second, empty, again = made.embed(texts)
    assert [list(np.asarray(each)) for each in (first, second, again)] == [[3, 1], [5, 1], [3, 1]]
    assert isinstance(empty, Unscored)
    count = len(server.seen)
    made.embed(texts)
    assert len(server.seen) == count
    assert server.seen[0].path == "/v1/embeddings"


@pytest.mark.parametrize("vector", [[], [[1.0]], ["x"], [None], [float("inf")], "text", {}])
def test_what_is_no_vector_is_no_embedding(
    server: TeacherServer, tmp_path: Path, vector: Any
) -> None:
    server.act = embeds(lambda text: vector)
    [found] = embedder(server.address, tmp_path).embed(["one"])
    assert isinstance(found, Unscored)
    assert "no embedding" in found.reason


def test_it_keeps_to_the_budget_and_needs_a_model(server: TeacherServer, tmp_path: Path) -> None:
    with pytest.raises(BudgetSpent):
        embedder(server.address, tmp_path, budget_tokens=10).embed(["one"])
    assert server.seen == []
    with pytest.raises(InvalidConfig, match="model"):
        embedder(server.address, tmp_path, model=None).embed(["one"])


def test_descants_own_are_those_of_the_server(tmp_path: Path) -> None:
    llm = load(write_served(tmp_path / "served"))
    texts = ["a refund", "says hello"]
    with live(llm) as (url, _):
        found = embedder(f"{url}/v1", tmp_path, model=llm.model_name).embed(texts)
        body = {"model": llm.model_name, "input": texts}
        told = httpx.post(f"{url}/v1/embeddings", json=body).json()
    for vector, expected in zip(found, told["data"], strict=True):
        assert not isinstance(vector, Unscored)
        assert vector == pytest.approx(np.array(expected["embedding"]), abs=1e-5)
