"""Calibrated scores over HTTP, and a calibration that changes while the server runs."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from descant.llm import LLM
from descant.registry import read_manifest, write_manifest
from descant.schema import Indicator
from descant.server.batches import BatchConfig
from tests.registry.adapters import WARM
from tests.server.batch_app import create, ended, lines_of
from tests.server.served import CONVERSATION, Server, serve_tiny

COOL = {**WARM, "temperature": 0.5}
TURNED = {
    "method": "isotonic",
    "curves": {"yes": {"raw": [0.0, 1.0], "calibrated": [0.9, 0.95]}},
    "num_examples": 40,
    "data_hash": WARM["data_hash"],
}


@pytest.fixture
def made(tmp_path: Path) -> tuple[LLM, tuple[Indicator, ...]]:
    return serve_tiny(tmp_path)


def calibrate(place: Path, table: dict[str, Any] | None) -> str:
    """Write a calibration for ``polite`` and return its folder."""
    folder = place / "adapters" / "polite"
    write_manifest(folder, replace(read_manifest(folder), calibration=table))
    return str(folder)


def powered(raw: dict[str, float], power: float) -> dict[str, float]:
    total = sum(share**power for share in raw.values())
    return {label: share**power / total for label, share in raw.items()}


async def polite(client: httpx.AsyncClient) -> dict[str, Any]:
    response = await client.post("/v1/scores", json={"conversation": CONVERSATION})
    assert response.status_code == 200
    mood, answer, _ = response.json()["answers"]
    assert mood["raw_probabilities"] is None
    found: dict[str, Any] = answer
    return found


async def reload(client: httpx.AsyncClient, folder: str, **more: Any) -> httpx.Response:
    body = {"lora_name": "polite", "lora_path": folder, **more}
    return await client.post("/v1/load_lora_adapter", json=body)


def test_a_new_calibration_counts_once_the_adapter_is_loaded_in_place(
    tmp_path: Path, made: tuple[LLM, tuple[Indicator, ...]]
) -> None:
    async def exchange() -> None:
        async with Server(*made).client() as client:
            raw = await polite(client)
            assert raw["raw_probabilities"] is None
            folder = calibrate(tmp_path, WARM)
            assert (await polite(client))["raw_probabilities"] is None
            refused = await reload(client, folder)
            assert (refused.status_code, refused.json()["error"]["code"]) == (400, "adapter_exists")
            assert (await reload(client, folder, load_inplace=True)).status_code == 200
            warm = await polite(client)
            assert warm["raw_probabilities"] == pytest.approx(raw["probabilities"], abs=1e-4)
            assert warm["probabilities"] == pytest.approx(
                powered(raw["probabilities"], 0.5), abs=1e-4
            )
            assert warm["confidence"] == warm["probabilities"][warm["label"]]
            assert (warm["label"], warm["adapter"]) == (raw["label"], raw["adapter"])
            listed = (await client.get("/v1/adapters")).json()["data"]
            assert {row["name"]: row["calibration"] for row in listed} == {
                "mood": None,
                "polite": "temperature",
            }
            assert (await reload(client, calibrate(tmp_path, TURNED), load_inplace=True)).is_success
            turned = await polite(client)
            assert turned["label"] == "yes"
            assert turned["confidence"] == pytest.approx(
                0.9 + 0.05 * turned["raw_probabilities"]["yes"]
            )

    asyncio.run(exchange())


def test_batches_and_the_python_api_give_the_same_calibrated_scores(
    tmp_path: Path, made: tuple[LLM, tuple[Indicator, ...]]
) -> None:
    llm, indicators = made
    calibrate(tmp_path, COOL)
    line = {
        "custom_id": "1",
        "method": "POST",
        "url": "/v1/scores",
        "body": {"conversation": CONVERSATION},
    }

    async def exchange() -> tuple[dict[str, Any], dict[str, Any]]:
        server = Server(llm, indicators, batches=BatchConfig(tmp_path / "batches"))
        async with server.client() as client:
            batch = await ended(client, await create(client, line))
            [told] = await lines_of(client, batch["output_file_id"])
            return told["response"]["body"]["answers"][1], await polite(client)

    batched, scored = asyncio.run(exchange())
    card = json.loads(json.dumps(llm.score(CONVERSATION, indicators).to_json()))
    for answer in (batched, scored, card["answers"][1]):
        assert answer["probabilities"] == pytest.approx(
            powered(answer["raw_probabilities"], 2.0), abs=1e-6
        )
        assert answer["probabilities"] == pytest.approx(scored["probabilities"], abs=1e-4)


def test_a_calibration_that_cannot_be_leaves_the_others_answered(
    tmp_path: Path, made: tuple[LLM, tuple[Indicator, ...]]
) -> None:
    path = tmp_path / "adapters" / "polite" / "manifest.json"
    table = json.loads(path.read_text())
    path.write_text(json.dumps({**table, "calibration": {**WARM, "temperature": -1}}))
    mood, answer, _ = Server(*made).score().json()["answers"]
    assert "calibration.temperature" in answer["unanswered"]
    assert mood["label"] is not None
