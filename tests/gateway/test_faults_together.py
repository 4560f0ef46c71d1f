"""Everything that can go wrong, together: what is set aside comes back, and the books are true.

What is charged: an answer whose end came, what its upstream says it took. One that broke off, or that
its caller left, what was estimated of the prompt and about a token for each event that was passed on.
One that no caller could have (an error, a whole answer cut in the middle): nothing.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import random
import warnings
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from benchmarks.gateway.mock import MockUpstream

from descant.gateway.limits import InProcessLimits
from tests.gateway.mock_upstream import mock_upstream
from tests.gateway.running import CHAT, KEY, SECRET, Running, read_lines, running

pytestmark = pytest.mark.anyio

_CUT = ("reset_middle", "hang_middle", "half_close")
_FAULTS = (
    *("error_500", "error_503", "error_429", "error_429_ms", "error_429_bare", "lie_limits"),
    *("reset_before", "hang", "garbage", "lie_length", "lie_type", *_CUT),
)
_MODELS = ("plain", "kept", "late", "sure")
_TOKENS = 4 + 10 + 4
"""Of each answer: a message, its text, and four that are written."""


def knobs(seed: int, share: float, faults: tuple[str, ...] = _FAULTS) -> dict[str, Any]:
    return {
        "seed": seed,
        "gap_s": 0.001,
        "retry_after_s": 0.2,
        "latency": {"quantiles": [[0, 0.0], [0.9, 0.02], [1, 0.3]]},
        "faults": {fault: share / len(faults) for fault in faults},
    }


def gateway_text(folder: Path, urls: list[str], idle_s: float) -> str:
    upstreams = "".join(
        f'[upstreams.u{number}]\nurl = "{url}"\nidle_timeout_s = {idle_s}\nconcurrency = 8\n'
        "tokens_per_minute = 1_000_000\n"
        for number, url in enumerate(urls)
    )
    names = f"upstreams = {json.dumps([f'u{number}' for number in range(len(urls))])}\n"
    return f"""{upstreams}
[routes."*"]
{names}
[routes.kept]
cache_s = 60
{names}
[routes.late]
hedge_share = 0.5
{names}
[cascades.sure.stages.small]
accept = ["confidence"]
min_confidence = 0.99
[cascades.sure.stages.large]
[keys.team]
sha256 = "{KEY}"
tenant = "quality"
concurrency = 14
tokens_per_minute = 1_000_000
[tenants.quality]
concurrency = 13
[state]
ledger = "{folder}/usage.sqlite"
"""


@asynccontextmanager
async def behind(
    folder: Path, *each: dict[str, Any]
) -> AsyncIterator[tuple[Running, list[MockUpstream], list[str]]]:
    """A gateway in front of as many mocks."""
    async with AsyncExitStack() as stack:
        served = [await stack.enter_async_context(mock_upstream(**one)) for one in each]
        urls = [one.url for one in served]
        path = folder / "gateway.toml"
        path.write_text(gateway_text(folder, urls, 0.25))
        gateway = await stack.enter_async_context(running(path))
        # Only who has seen fifty first bytes knows which are late.
        clock = gateway.worker.lasting.clock
        for _ in range(60):
            hedge = gateway.worker.lasting.patience.hedge("late", 0.5, clock())
            assert hedge is not None
            hedge.first_byte(clock())
        yield gateway, [one.upstream for one in served], urls


class Crowd:
    """Callers who ask one after another, hang up and run out of patience as they please."""

    def __init__(self, gateway: Running, seed: int):
        self._gateway = gateway
        self._random = random.Random(seed)
        self.seen: Counter[str] = Counter()
        self.untold: list[str] = []

    async def run(self, over: asyncio.Event) -> None:
        while not over.is_set():
            draw = self._random.random()
            patience_s = self._random.choice((0.01, 0.1)) if draw < 0.2 else None
            try:
                async with asyncio.timeout(patience_s):
                    await self._ask(self._random.random() < 0.5, 0.2 <= draw < 0.4)
            except TimeoutError:
                self.seen["hung up"] += 1

    async def _ask(self, is_stream: bool, is_short: bool) -> None:
        model = self._random.choice(_MODELS)
        number = self._random.randrange(10**12)
        if model == "kept":
            # Whoever asks within the same moment asks the same.
            number = int(20 * asyncio.get_running_loop().time())
        body = {
            "model": model,
            "max_tokens": 4,
            "temperature": 0,
            "stream": is_stream,
            "messages": [{"role": "user", "content": f"{number:040d}"}],
        }
        headers = {"authorization": f"Bearer {SECRET}"}
        if is_short:
            headers["x-deadline-s"] = str(self._random.choice((0.001, 0.05, 0.3)))
        url = self._gateway.url + CHAT
        async with self._gateway.client.post(url, json=body, headers=headers) as response:
            told = "retry-after" in response.headers
            if response.status in (429, 503) and not told:
                self.untold.append(await response.text())
            raw = await response.read()
        self.seen[str(response.status)] += 1
        if response.status == 200:
            is_whole = raw.endswith(b"data: [DONE]\n\n") if is_stream else json.loads(raw)
            assert is_whole or b'"error"' in raw, raw


@contextmanager
def noticing() -> Iterator[list[str]]:
    """Collect what the loop and the collector of garbage complain of."""
    loop, found = asyncio.get_running_loop(), list[str]()
    loop.set_exception_handler(lambda _, context: found.append(str(context)))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        yield found
        gc.collect()
    loop.set_exception_handler(None)
    found += [str(each.message) for each in caught if each.category is ResourceWarning]


async def until_idle(gateway: Running) -> None:
    """Wait until nothing is under way; flights end when nobody waits for them."""
    worker = gateway.worker
    async with asyncio.timeout(10):
        while not worker.drain.is_idle or worker.lasting.flights._tasks:
            await asyncio.sleep(0.02)


def assert_all_is_back(gateway: Running) -> None:
    worker, limits = gateway.worker, gateway.worker.lasting.limits
    assert isinstance(limits, InProcessLimits)
    assert not limits._running
    assert {name: account.running for name, account in limits._accounts.items()} == dict.fromkeys(
        limits._accounts, 0
    )
    for name, upstream in worker.settings.fleet.items():
        assert worker.lasting.memory.view.in_flight(name) == 0, name
        assert upstream.health.breaker._num_probes == 0, name
    assert not worker.lasting.flights._open
    assert worker.observing.metrics._tallies.in_flight == 0


async def read_books(gateway: Running, folder: Path) -> list[dict[str, Any]]:
    ledger = gateway.worker.lasting.ledger
    assert ledger is not None
    await asyncio.to_thread(ledger.flush)
    return read_lines(folder / "usage.sqlite")


def charged(lines: list[dict[str, Any]]) -> int:
    return sum(
        line["prompt_tokens"] + line["completion_tokens"]
        for line in lines
        if line["upstream"] != "cache"
    )


async def reload(gateway: Running, path: Path, text: str) -> None:
    """Have another version of the file in force."""
    before = gateway.worker.settings
    await asyncio.to_thread(path.write_text, text)
    async with asyncio.timeout(5):
        while gateway.worker.settings is before:
            await asyncio.sleep(0.02)


async def test_whatever_happens_all_is_given_back_and_written_down(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    before = asyncio.all_tasks()
    with noticing() as complaints:
        each = [knobs(seed, 0.4) for seed in range(3)]
        async with behind(tmp_path, *each) as (gateway, mocks, urls):
            crowd, over = Crowd(gateway, 7), asyncio.Event()
            callers = [asyncio.ensure_future(crowd.run(over)) for _ in range(16)]
            await asyncio.sleep(0.3)
            path = tmp_path / "gateway.toml"
            await reload(gateway, path, gateway_text(tmp_path, urls[:2], 0.2))
            await reload(gateway, path, gateway_text(tmp_path, urls, 0.3))
            await asyncio.sleep(0.3)
            over.set()
            await asyncio.gather(*callers)
            await until_idle(gateway)
            assert_all_is_back(gateway)
            lines = await read_books(gateway, tmp_path)
            account = gateway.worker.lasting.limits._accounts["key:team"]  # type: ignore[attr-defined]
            taken = {kind: window.taken for (kind, _), window in account._windows.items()}
        await asyncio.sleep(0.05)
        left = asyncio.all_tasks() - before
    assert not complaints
    assert not left
    assert not [record.getMessage() for record in caplog.records]
    assert not crowd.untold
    asked, answers = sum(crowd.seen.values()), [row for row in lines if row["kind"] == "answer"]
    assert asked > 200
    assert "500" not in crowd.seen
    assert len({row["id"] for row in answers}) == len(answers)
    # Who hung up may have done so before the request was read.
    assert asked - crowd.seen["hung up"] <= len(answers) <= asked
    assert taken["tokens"] == charged(lines)
    ended = [row for row in answers if row["outcome"] == "ok" and row["model"] != "sure"]
    assert {row["prompt_tokens"] + row["completion_tokens"] for row in ended} == {_TOKENS}
    assert len(ended) <= sum(mock.counts.outcomes["answered"] for mock in mocks)


async def test_what_comes_to_its_end_is_charged_as_the_upstreams_say(tmp_path: Path) -> None:
    faults = tuple(fault for fault in _FAULTS if "429" not in fault)
    # None is so late that its upstream is given up while it answers.
    each = [{**knobs(seed, 0.3, faults), "latency": {"fixed_s": 0.005}} for seed in range(2)]

    async def ask(gateway: Running, caller: int) -> None:
        for turn in range(10):
            text = f"{caller} {turn}".ljust(40)
            await gateway.chat(text, model="plain", stream=(caller + turn) % 2 == 0)

    async with behind(tmp_path, *each) as (gateway, mocks, _):
        await asyncio.gather(*(ask(gateway, caller) for caller in range(6)))
        await until_idle(gateway)
        lines = await read_books(gateway, tmp_path)
    assert len(lines) == 60
    ended = [row for row in lines if row["outcome"] == "ok"]
    answered = sum(mock.counts.outcomes["answered"] for mock in mocks)
    assert charged(ended) == _TOKENS * answered == _TOKENS * len(ended) > 0
    whole = [row for row in lines if row["outcome"] != "ok" and not row["is_stream"]]
    assert charged(whole) == 0


async def test_no_call_comes_inside_an_announced_window(tmp_path: Path) -> None:
    throttling = ("error_429", "error_429_ms", "error_503", "hang")
    each = [knobs(seed, 0.2, throttling) for seed in range(3)]
    async with behind(tmp_path, *each) as (gateway, mocks, urls):

        async def ask(number: int) -> None:
            for turn in range(12):
                try:
                    async with asyncio.timeout(0.02 if turn % 4 == 3 else None):
                        await gateway.chat(f"{number} {turn}", model="plain", stream=turn % 2 == 0)
                except TimeoutError:
                    continue
                await asyncio.sleep(0.03)

        callers = [asyncio.ensure_future(ask(number)) for number in range(8)]
        await reload(gateway, tmp_path / "gateway.toml", gateway_text(tmp_path, urls, 0.2))
        await asyncio.gather(*callers)
    announced = sum(
        mock.counts.outcomes["error_429"] + mock.counts.outcomes["error_429_ms"] for mock in mocks
    )
    assert announced > 0
    assert [mock.counts.violations for mock in mocks] == [0, 0, 0]
