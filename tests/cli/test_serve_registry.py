"""``descant serve --registry``: promotions and rollbacks under load, on a process of its own."""

from __future__ import annotations

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


@pytest.fixture
def location(tmp_path: Path) -> str:
    return str(tmp_path / "registry")


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


def test_a_server_follows_promotions_and_rollbacks_and_drops_no_request(
    tmp_path: Path, new_location: NewLocation
) -> None:
    versions = write_versions(tmp_path / "served", location := new_location(tmp_path / "registry"))
    waits_s = []
    with serving(versions.folder, "--registry", location) as server, loaded(server) as load:
        load.wait_for(versions.weights[0])
        for turn in range(4):
            if turn % 2:
                versions.registry.rollback("polite", reason="test")
                changed = time.monotonic()
            else:
                changed = versions.promote(1)
            waits_s.append(load.wait_for(versions.weights[(turn + 1) % 2]) - changed)
        load.ended.set()
        assert server.terminate() == 0
    assert set(load.statuses) == {200}
    assert server.text.count("polite is sha256:") == 4
    told = ", ".join(f"{wait_s:.2f}" for wait_s in waits_s)
    print(f"followed after {told} s; {len(load.statuses)} requests, none dropped")  # noqa: T201


def test_what_is_begun_ends_on_the_adapter_it_began_with(tmp_path: Path, location: str) -> None:
    versions = write_versions(tmp_path / "served", location)
    body = {"model": "polite", **CHAT, "max_tokens": 400, "ignore_eos": True, "temperature": 0}
    with serving(versions.folder, "--registry", location) as server, server.client() as client:
        whole = client.post("/v1/chat/completions", json=body).json()["choices"]
        lines = []
        with client.stream("POST", "/v1/chat/completions", json={**body, "stream": True}) as stream:
            for line in stream.iter_lines():
                if not lines:
                    versions.promote(1)
                lines.append(line)
        assert lines[-2:] == ["data: [DONE]", ""] or "data: [DONE]" in lines
        assert whole[0]["finish_reason"] == "length"
        assert server.terminate() == 0


def test_versions_and_aliases_can_be_asked_for_by_name(tmp_path: Path, location: str) -> None:
    versions = write_versions(tmp_path / "served", location)
    versions.registry.promote(f"polite@{versions.weights[1]}", "challenger", reason="test")
    release = versions.registry.record("polite@challenger").version
    with serving(versions.folder, "--registry", location, "--preload") as server:
        with server.client() as client:
            listed = [row["id"] for row in client.get("/v1/models").json()["data"]]
            assert listed == ["tiny", "mood", "polite", "polite@challenger"]
            for model in ("polite@challenger", f"polite@{release}", f"mood@{release}", "other"):
                told = client.post("/v1/chat/completions", json={"model": model, **CHAT})
                assert told.status_code == (200 if model.startswith("polite") else 404), model
            rows = client.get("/v1/adapters").json()["data"]
            found = {row["name"]: row["state"] for row in rows if row["release"] == release}
            assert found == {"polite": "host", "polite@challenger": "host"}
        assert server.terminate() == 0


def test_a_registry_that_is_not_there_is_a_mistake_in_the_command(tmp_path: Path) -> None:
    assert run("serve", "--port", "0", "--registry", str(tmp_path / "none")) == 2
