"""``descant economy`` against a gateway that runs."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

from tests.gateway.mock_upstream import mock_upstream
from tests.gateway.running import SECRET, running, write_file

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def command(*arguments: str, key: str | None = SECRET) -> tuple[int, str, str]:
    """Run it as its users do: a process of its own."""
    environment = {"PYTHONPATH": ":".join(sys.path), "COLUMNS": "200"}
    if key is not None:
        environment["DESCANT_ADMIN_KEY"] = key
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "descant", "economy", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_it_shows_what_the_gateway_says(tmp_path: Path) -> None:
    async with mock_upstream() as served:
        path = write_file(tmp_path, served.url, more="admin = true")
        async with running(path) as gateway:
            for number in range(5):
                await gateway.chat(f"Where is parcel {number}?")
            code, table, _ = await command(gateway.url)
            _, line, _ = await command(gateway.url + "/v1", "--json")
            unknown = await command(gateway.url, key="wrong")
    (row,) = json.loads(line)["routes"]
    assert (code, row["route"], row["requests"]) == (0, "polite", 5)
    assert f"{row['total_tokens']:,}" in table
    assert "polite: max_tokens -, 4 now: 5 answers are too few" in table
    assert unknown[0] == 1
    assert "The API key is not known." in unknown[2]


@pytest.mark.parametrize(
    ("arguments", "key", "says"),
    [
        (["http://127.0.0.1:9"], None, "DESCANT_ADMIN_KEY is not set"),
        (["http://127.0.0.1:9"], "x", "cannot be read"),
        (["file:///etc"], "x", "no address"),
    ],
)
async def test_what_is_wrong_is_said(arguments: list[str], key: str | None, says: str) -> None:
    code, _, error = await command(*arguments, key=key)
    assert code in (1, 2)
    assert says in error
