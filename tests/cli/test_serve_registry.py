"""``descant serve --registry``: promotions and rollbacks under load, on a process of its own."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from descant.registry import Registry
from descant.schema import load_indicators
from tests.cli.test_app import run
from tests.registry.locations import NewLocation
from tests.registry.packages import registry
from tests.server.process import WAIT_S, Process, serving
from tests.server.served import serve_tiny, write_adapter

TURNS = {"turns": [{"speaker": "agent", "text": "Good morning"}]}
CHAT = {"messages": [{"role": "user", "content": "hello there"}], "max_tokens": 5}
NAMES = ("polite", "mood")


@dataclass
class Versions:
    """A registry with two versions of ``polite`` and one of ``mood``; the folder has the model."""

    registry: Registry
    folder: Path
    weights: list[str]
    """Of ``polite``'s two versions."""

    def promote(self, index: int) -> float:
        """Promote a version of ``polite``; return when that was done."""
        self.registry.promote(f"polite@{self.weights[index]}", reason="test")
        return time.monotonic()

    def roll_back(self) -> float:
        """Roll ``polite`` back; return when that was done."""
        self.registry.rollback("polite", reason="test")
        return time.monotonic()


def write_versions(place: Path, location: str) -> Versions:
    llm, _ = serve_tiny(place)
    made = registry(location)
    trained = {indicator.name: indicator for indicator in load_indicators(place / "indicators")}
    write_adapter(place / "second", llm, 7, trained["polite"])
    first = made.add(place / "adapters" / "polite", reason="test").weights_hash
    second = made.add(place / "second", "polite", reason="test").weights_hash
    made.add(place / "adapters" / "mood", reason="test")
    made.promote("mood", reason="test")
    assert first is not None
    assert second is not None
    shutil.rmtree(place / "adapters")
    versions = Versions(made, place, [first, second])
    versions.promote(0)
    return versions


@dataclass
class Load:
    """Callers that ask again and again, and what they were answered."""

    address: str
    statuses: list[int] = field(default_factory=list)
    answered: list[tuple[float, str]] = field(default_factory=list)
    """When, and by which weights of ``polite``."""
    ended: threading.Event = field(default_factory=threading.Event)

    def score(self) -> None:
        with httpx.Client(base_url=self.address, timeout=WAIT_S) as client:
            while not self.ended.is_set():
                told = client.post("/v1/scores", json={"conversation": TURNS})
                self.statuses.append(told.status_code)
                answers = {answer["indicator"]: answer for answer in told.json()["answers"]}
                assert answers.keys() == set(NAMES)
                adapter = answers["polite"]["adapter"]
                self.answered.append((time.monotonic(), adapter["content_hash"]))

    def chat(self) -> None:
        with httpx.Client(base_url=self.address, timeout=WAIT_S) as client:
            while not self.ended.is_set():
                told = client.post("/v1/chat/completions", json={"model": "polite", **CHAT})
                self.statuses.append(told.status_code)

    def wait_for(self, weights: str) -> float:
        """Return when ``polite`` was first answered by these weights last."""
        end = time.monotonic() + WAIT_S
        while time.monotonic() < end:
            if self.answered and self.answered[-1][1] == weights:
                return self.answered[-1][0]
            time.sleep(0.01)
        raise AssertionError(f"The server did not follow: {self.answered[-1:]}")


@contextmanager
def loaded(server: Process) -> Iterator[Load]:
    load = Load(server.address)
    callers = [threading.Thread(target=call) for call in (load.score, load.chat, load.chat)]
    for caller in callers:
        caller.start()
    try:
        yield load
    finally:
        load.ended.set()
        for caller in callers:
            caller.join(WAIT_S)


def check_following(place: Path, location: str, num_changes: int) -> None:
    versions = write_versions(place, location)
    waits_s = []
    with serving(versions.folder, "--registry", location) as server:
        with loaded(server) as load:
            load.wait_for(versions.weights[0])
            for turn in range(num_changes):
                changed = versions.roll_back() if turn % 2 else versions.promote(1)
                waits_s.append(load.wait_for(versions.weights[(turn + 1) % 2]) - changed)
        assert server.terminate() == 0
    assert set(load.statuses) == {200}
    assert server.text.count("polite is sha256:") == num_changes
    told = ", ".join(f"{wait_s:.2f}" for wait_s in waits_s)
    print(f"followed after {told} s; {len(load.statuses)} requests, none dropped")  # noqa: T201


def test_a_server_follows_promotions_and_rollbacks_and_drops_no_request(tmp_path: Path) -> None:
    check_following(tmp_path / "served", str(tmp_path / "registry"), 2)


@pytest.mark.slow
def test_a_server_follows_twenty_changes(tmp_path: Path, new_location: NewLocation) -> None:
    check_following(tmp_path / "served", new_location(tmp_path / "registry"), 20)


def test_names_aliases_and_hashes_are_served_and_what_is_begun_is_ended(tmp_path: Path) -> None:
    versions = write_versions(tmp_path / "served", location := str(tmp_path / "registry"))
    versions.registry.promote(f"polite@{versions.weights[1]}", "challenger", reason="test")
    release = versions.registry.record("polite@challenger").version
    with serving(versions.folder, "--registry", location, "--preload") as server:
        with server.client() as client:
            check_names(client, release)
            check_stream(client, versions)
        assert server.terminate() == 0


def check_names(client: httpx.Client, release: str) -> None:
    listed = [row["id"] for row in client.get("/v1/models").json()["data"]]
    assert listed == ["tiny", "mood", "polite", "polite@challenger"]
    for model in ("polite@challenger", f"polite@{release}", f"mood@{release}", "other"):
        told = client.post("/v1/chat/completions", json={"model": model, **CHAT})
        assert told.status_code == (200 if model.startswith("polite") else 404), model
    rows = client.get("/v1/adapters").json()["data"]
    found = {row["name"]: row["state"] for row in rows if row["release"] == release}
    assert found == {"polite": "host", "polite@challenger": "host"}


def check_stream(client: httpx.Client, versions: Versions) -> None:
    """A stream that began before a promotion goes on as it would have without."""
    body = {**CHAT, "model": "polite", "max_tokens": 150, "ignore_eos": True, "temperature": 0}
    # From the second time on the prompt is cached: the same sums each time.
    wholes = [client.post("/v1/chat/completions", json=body).json()["choices"] for _ in range(3)]
    assert wholes[1] == wholes[2]
    whole = wholes[2][0]
    text, switched = "", False
    with client.stream("POST", "/v1/chat/completions", json={**body, "stream": True}) as stream:
        for line in stream.iter_lines():
            if not text and not switched:
                versions.promote(1)
                switched = True
            if line.startswith("data: {"):
                text += json.loads(line[6:])["choices"][0]["delta"].get("content") or ""
    assert text == whole["message"]["content"]
    other = client.post("/v1/chat/completions", json={**body, "model": "polite@challenger"})
    assert other.json()["choices"][0]["message"]["content"] != text


def test_a_registry_that_is_not_there_is_a_mistake_in_the_command(tmp_path: Path) -> None:
    assert run("serve", "--port", "0", "--registry", str(tmp_path / "none")) == 2
