"""What the harness itself decides: figures, checks, books, sessions, memory, processes."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
import time
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from benchmarks.gateway.books import Charged, Entry, compare, read_ledger
from benchmarks.gateway.child import Command, started
from benchmarks.gateway.crowd import Charge, Crowd, Part
from benchmarks.gateway.drill import Seen
from benchmarks.gateway.drill_checks import checks
from benchmarks.gateway.gateways import KEY, Descant, Place, Running, Upstream
from benchmarks.gateway.load import Target, chat_body
from benchmarks.gateway.load.pool import Pool
from benchmarks.gateway.memory import MemoryWatch, descendants, resident_bytes
from benchmarks.gateway.sessions import Sessions
from benchmarks.gateway.table import FIGURES, table

from descant.gateway.config import load_gateway_config
from tests.gateway.mock_upstream import mock_upstream

DESCRIBED = {"date": "2026-11-22", "commit": "0000000", "machine": "one, 2 cores"}


def test_the_settings_written_for_our_gateway_are_right(tmp_path: Path) -> None:
    place = Place(tmp_path, (0,), redis="redis://127.0.0.1:1/0", key_concurrency=96)
    upstreams = [
        Upstream("a", "http://127.0.0.1:1", 1000, concurrency=32),
        Upstream("b", "http://127.0.0.1:2"),
    ]
    file = tmp_path / "gateway.toml"
    file.write_text(Descant().file_text(upstreams, place))
    config = load_gateway_config(file)
    assert config.upstreams["a"].tokens_per_minute == 1000
    assert config.upstreams["a"].concurrency == 32
    assert config.upstreams["b"].tokens_per_minute is None
    assert config.keys["bench"].concurrency == 96
    assert config.state.redis == "redis://127.0.0.1:1/0"
    assert KEY not in file.read_text()


def test_a_child_ends_with_its_block_and_all_that_it_started(tmp_path: Path) -> None:
    script = "import subprocess, sys, time; subprocess.Popen(['sleep', '100']); time.sleep(100)"
    command = Command((sys.executable, "-c", script), (0,), tmp_path / "log", {})
    with started(command) as process:
        while not (children := descendants(process.pid)):
            time.sleep(0.01)
        assert os.sched_getaffinity(process.pid) == {0}
        assert resident_bytes(process.pid) > resident_bytes(children[0]) > 0
    for pid in (process.pid, *children):
        status = Path(f"/proc/{pid}/status")
        for _ in range(200):
            if not status.exists() or "State:\tZ" in status.read_text():
                break
            time.sleep(0.02)
        assert not status.exists() or "State:\tZ" in status.read_text()


def test_growth_is_the_slope_of_the_second_half() -> None:
    rising = [(float(second), 1_000_000 * max(0, second - 30)) for second in range(61)]
    assert MemoryWatch(rising).growth_bytes_per_minute() == pytest.approx(60e6)
    settled = [(float(second), min(second, 20) * 1_000_000) for second in range(61)]
    assert MemoryWatch(settled).growth_bytes_per_minute() == pytest.approx(0.0)
    assert MemoryWatch(settled).most_bytes == 20_000_000


def test_the_table_says_what_holds_and_why_a_figure_is_absent() -> None:
    found: dict[str, Any] = {}
    for figure in FIGURES:
        place = found
        for name in figure.path[:-1]:
            place = place.setdefault(name, {})
        place[figure.path[-1]] = 0.001
    found["memory"] = {"absent": "not started here"}
    how = {"other_cores": 1, "rounds": 5, "seconds": 4.0}
    gateways = {"descant": found, "litellm": {"absent": "no network"}}
    page = table({**DESCRIBED, "how": how, "gateways": gateways})
    assert "| added p99, one client | ≤ 1.5 | 1 ms | yes | - |  |" in page
    assert "| requests/s on one core | ≥ 1,000 | 0.001 | **no** | - |  |" in page
    assert "| memory idle |  | - |  | - |  |" in page
    assert page.endswith("litellm: no network\n")


def ledger(path: Path, rows: list[tuple[str, str, int]]) -> Path:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "CREATE TABLE gateway_usage (id, kind, outcome, prompt_tokens, completion_tokens)"
        )
        connection.executemany(
            "INSERT INTO gateway_usage VALUES (?, 'answer', ?, ?, 1)",
            [(id_, outcome, tokens - 1) for id_, outcome, tokens in rows],
        )
        connection.execute("INSERT INTO gateway_usage VALUES ('a', 'hedge', 'ok', 5, 5)")
    return path


def test_books_are_set_against_what_was_answered(tmp_path: Path) -> None:
    path = ledger(tmp_path / "l", [("a", "ok", 10), ("b", "ok", 7), ("c", "ok", 3), ("c", "ok", 3)])
    entries = read_ledger(path)
    assert entries[0] == Entry("a", "ok", 10)
    charges = [Charge(id_, 10, 0.0) for id_ in "abc"] + [Charge("d", 1, 0.0)]
    assert compare(charges, entries) == Charged(missing=1, double=1, wrong=2)


def seen(**parts: Part) -> Seen:
    names = ("reset_middle", "hang_middle", "half_close", "worker killed", "all upstreams fail")
    all_parts = {name: Part(name) for name in names} | {part.name: part for part in parts.values()}
    full = Part("as many as may be", whole=Counter({"200": 96}))
    return Seen(all_parts, 100.0, full, 50, Counter({"hang": 3}))


def failed(found: Seen, path: Path) -> list[str]:
    return [check.what for check in checks(found, path) if not check.holds]


def test_a_drill_in_which_all_went_well_holds(tmp_path: Path) -> None:
    well = Part("all is well", whole=Counter({"200": 2}), charges=[Charge("a", 10, 0.0)])
    killed = Part(
        "worker killed", streams=Counter({"closed": 3}), charges=[Charge("lost", 10, 99.5)]
    )
    middle = Part("half_close", streams=Counter({"closed": 3}))
    path = ledger(tmp_path / "l", [("a", "ok", 10)])
    assert failed(seen(well=well, killed=killed, middle=middle), path) == []


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (Part("garbage", whole=Counter({"cut": 1})), "whole answer"),
        (Part("garbage", streams=Counter({"closed": 1})), "ends as one"),
        (Part("hang_middle", streams=Counter({"timeout": 1})), "broke off ends too"),
        (Part("worker killed", whole=Counter({"timeout": 1})), "at a kill"),
        (Part("garbage", untold=1), "when to come again"),
        (Part("garbage", whole=Counter({"503": 1})), "errors only while"),
        (Part("garbage", charges=[Charge("x", 10, 0.0)]), "every answer is in the books"),
        (Part("garbage", charges=[Charge("a", 11, 0.0)]), "charged twice"),
    ],
)
def test_each_thing_that_goes_wrong_in_a_drill_is_found(
    part: Part, words: str, tmp_path: Path
) -> None:
    (what,) = failed(seen(part=part), ledger(tmp_path / "l", [("a", "ok", 10)]))
    assert words in what


def test_a_leak_an_unmet_fault_and_an_overcharge_are_found(tmp_path: Path) -> None:
    path = ledger(tmp_path / "l", [("a", "ok", 10)])
    found = seen()
    assert failed(replace(found, met=Counter({"hang": 0})), path) == ["every fault was met"]
    refused = Part("full", whole=Counter({"200": 95, "429": 1}))
    assert "leaked" in failed(replace(found, at_once=refused), path)[0]
    assert "more is charged" in failed(replace(found, served_tokens=9), path)[0]
    assert failed(found, tmp_path / "none") == ["the books can be read"]


def test_a_crowd_asks_as_long_as_something_happens() -> None:
    async def drill() -> tuple[Part, Part, int]:
        async with mock_upstream(gap_s=0.001) as served:
            crowd = Crowd(Running("mock", served.url, None))
            part = await crowd.during("happens", lambda: asyncio.sleep(0.2))
            full = await crowd.at_once("full", 50)
            return part, full, served.upstream.counts.requests

    part, full, requests = asyncio.run(drill())
    assert full.whole + full.streams == Counter({"200": 50})
    assert part.whole["200"] + part.streams["200"] == requests - 50
    assert len(part.charges) == requests - 50


def test_sessions_wait_as_they_are_told() -> None:
    async def ask() -> tuple[Sessions, int, int]:
        limits = {"requests": 3, "window_s": 1.2, "announce_ms": False}
        async with mock_upstream(limits=limits) as served:
            body = chat_body(0, "mock", {"max_tokens": 4})
            target = Target(f"{served.url}/v1/chat/completions", (body,))
            sessions = Sessions(Pool(target.address, 10), target.requests(), 0.05, 10.0)
            tasks = [asyncio.create_task(sessions.run(index)) for index in range(1)]
            await asyncio.sleep(2.0)
            sessions.over.set()
            await asyncio.gather(*tasks)
            return sessions, served.upstream.counts.violations, served.upstream.counts.requests

    sessions, violations, requests = asyncio.run(ask())
    tally = sessions.tally
    assert violations == 0
    assert tally.good + tally.refused == requests
    assert tally.refused >= 1
    assert set(tally.told_s) <= {1.0, 2.0}
    assert not tally.failures
    assert not tally.untold
