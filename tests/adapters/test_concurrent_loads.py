"""Many threads at one library: one reading for each adapter, and nobody waits for another's."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from descant.adapters.host_tier import num_bytes
from descant.schema.errors import AdapterNotFound, InvalidAdapter
from tests.adapters.folders import CountingLoader, adapter, library, write

NUM_THREADS = 8


def at_once(*calls: Callable[[], object]) -> list[object]:
    """Run calls in a thread each, started together; return their results or errors."""
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[[], object]) -> object:
        barrier.wait(30)
        return call()

    with ThreadPoolExecutor(len(calls)) as threads:
        futures = [threads.submit(run, call) for call in calls]
        return [future.exception(60) or future.result(60) for future in futures]


def test_each_adapter_is_read_once_however_many_ask(tmp_path: Path) -> None:
    names = ["a", "b", "c"]
    for seed, name in enumerate(names):
        write(tmp_path / name, seed)
    loader = CountingLoader()
    made = library(tmp_path, loader=loader)
    loaded = at_once(*(lambda name=name: made.load(name) for name in names * NUM_THREADS))
    assert sorted(loader.loads) == names
    assert len(set(map(id, loaded))) == len(names)


def test_a_slow_reading_holds_up_nobody_else(tmp_path: Path) -> None:
    for seed, name in enumerate(["slow", "in-memory", "on-disk"]):
        write(tmp_path / name, seed)
    loader = CountingLoader()
    made = library(tmp_path, loader=loader)
    held = made.load("in-memory")
    loader.held["slow"] = threading.Event()
    with ThreadPoolExecutor(1) as threads:
        slow = threads.submit(made.load, "slow")
        assert loader.arrived.acquire(timeout=30)
        assert loader.arrived.acquire(timeout=30)
        assert made.load("in-memory") is held
        assert made.load("on-disk").name == "on-disk"
        assert len(made.list()) == 3
        made.blend({"in-memory": 1.0})
        assert not slow.done()
        loader.held["slow"].set()
        assert slow.result(30).name == "slow"


def test_an_error_is_told_to_all_and_not_remembered(tmp_path: Path) -> None:
    write(tmp_path / "empathy", 1)
    weights = tmp_path / "empathy" / "adapter_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-8])
    made = library(tmp_path)
    errors = at_once(*[lambda: made.load("empathy")] * NUM_THREADS)
    assert {type(error) for error in errors} == {InvalidAdapter}
    assert all("adapter_model.safetensors" in str(error) for error in errors)
    weights.write_bytes(whole)
    assert made.load("empathy").name == "empathy"
    assert made.stats().loads == 1


def test_what_is_unregistered_while_it_is_read_is_given_but_not_kept(tmp_path: Path) -> None:
    write(tmp_path / "empathy", 1)
    loader = CountingLoader()
    made = library(tmp_path, loader=loader)
    loader.held["empathy"] = threading.Event()
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(made.load, "empathy")
        assert loader.arrived.acquire(timeout=30)
        made.unregister("empathy")
        loader.held["empathy"].set()
        assert asked.result(30).name == "empathy"
    assert made.stats().host_bytes == 0


def test_a_replacement_does_not_join_a_reading_of_what_was_there_before(tmp_path: Path) -> None:
    old = write(tmp_path / "v1", 1)
    new = write(tmp_path / "v2", 2)
    loader = CountingLoader()
    made = library(tmp_path, loader=loader)
    loader.held["v1"] = threading.Event()
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(made.load, "v1")
        assert loader.arrived.acquire(timeout=30)
        made.replace("v1", tmp_path / "v2")
        assert made.load("v1").content_hash == new
        loader.held["v1"].set()
        assert asked.result(30).content_hash == old
    assert made.load("v1").content_hash == new
    assert made.load(f"v1@{old}").content_hash == old


def test_names_stay_whole_while_they_are_replaced_and_deleted(tmp_path: Path) -> None:
    contents = {write(tmp_path / f"v{seed}", seed) for seed in range(3)}
    write(tmp_path / "in" / "doomed", 7)
    bound = 2 * num_bytes(adapter(0))
    made = library(tmp_path / "in", allowed=(tmp_path,), host_bytes=bound)
    made.register("empathy", tmp_path / "v0")

    def replace() -> None:
        for turn in range(20):
            made.replace("empathy", tmp_path / f"v{turn % 3}")

    def ask() -> set[str]:
        return {made.load("empathy").content_hash for _ in range(100)}

    def ask_doomed() -> str:
        for _ in range(100):
            try:
                made.load("doomed")
            # While the files go one by one, one of them can be missing before the folder is.
            except (AdapterNotFound, InvalidAdapter) as error:
                return type(error).__name__
        return "served"

    results = at_once(
        replace, ask, ask, ask_doomed, lambda: shutil.rmtree(tmp_path / "in" / "doomed")
    )
    assert results[0] is None
    assert all(isinstance(seen, set) and seen <= contents for seen in results[1:3])
    assert results[3] in ("served", "AdapterNotFound", "InvalidAdapter")
    assert made.stats().host_bytes <= bound
    versions = [entry.version for entry in made.list() if entry.name == "empathy"]
    assert len(versions) == len(contents)
    assert set(versions) == contents
