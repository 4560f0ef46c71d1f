"""The registry under random sequences of operations, against plain dictionaries."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from descant.schema.errors import AdapterNotFound, AliasMoved, NothingToRollBack
from tests.registry.locations import NewLocation
from tests.registry.packages import package, registry, weights_hash

NUM_PACKAGES = 3
NAMES = st.sampled_from(["empathy", "refund"])
ALIASES = st.sampled_from(["champion", "challenger", "best-of-may"])
SEEDS = st.integers(1, NUM_PACKAGES)
_NUMBERS = itertools.count()


class RegistryMachine(RuleBasedStateMachine):
    def __init__(self, place: Path, new_location: NewLocation) -> None:
        super().__init__()
        self.place = place / f"example-{next(_NUMBERS)}"
        self.place.mkdir()
        self.packages = {seed: place / str(seed) for seed in range(1, NUM_PACKAGES + 1)}
        self.location = new_location(self.place / "registry")
        self.registry = registry(self.location)
        self.versions: dict[str, dict[int, str]] = {}
        """By name and seed."""
        self.history: dict[tuple[str, str], list[int]] = {}
        """What an alias has meant and not been rolled back from, by name and alias."""
        self.trail: list[tuple[str, str, str | None, str | None, str | None]] = []

    def meaning(self, name: str, alias: str) -> str | None:
        history = self.history.get((name, alias))
        return self.versions[name][history[-1]] if history else None

    @rule(name=NAMES, seed=SEEDS)
    def add(self, name: str, seed: int) -> None:
        version = self.registry.add(self.packages[seed], name).version
        self.note_version(name, seed, version, "add")

    def note_version(self, name: str, seed: int, version: str, action: str) -> None:
        known = self.versions.setdefault(name, {})
        if seed not in known:
            known[seed] = version
            self.trail.append((action, name, None, None, version))
        assert known[seed] == version

    @rule(name=NAMES, other=NAMES, seed=SEEDS)
    def export_and_import(self, name: str, other: str, seed: int) -> None:
        path = self.place / "parcel.tar"
        asked = f"{name}@{weights_hash(seed)}"
        if seed not in self.versions.get(name, {}):
            with pytest.raises(AdapterNotFound):
                self.registry.export(asked, path)
            return
        self.registry.export(asked, path)
        taken = self.registry.import_parcel(path, other)
        self.note_version(other, seed, taken.version, "import")

    @rule(name=NAMES, alias=ALIASES, seed=SEEDS, expected=st.sampled_from([..., "now", "else"]))
    def promote(self, name: str, alias: str, seed: int, expected: Any) -> None:
        before = self.meaning(name, alias) if name in self.versions else None
        wanted = {"now": before, "else": "sha256:else"}.get(expected, ...)
        asked = f"{name}@{weights_hash(seed)}"
        arguments: dict[str, Any] = {"reason": "because", "expected": wanted}
        if seed not in self.versions.get(name, {}):
            with pytest.raises(AdapterNotFound):
                self.registry.promote(asked, alias, **arguments)
        elif expected == "else":
            with pytest.raises(AliasMoved):
                self.registry.promote(asked, alias, **arguments)
        else:
            done = self.registry.promote(asked, alias, **arguments)
            after = self.versions[name][seed]
            assert (done.before, done.after) == (before, after)
            if before != after:
                self.history.setdefault((name, alias), []).append(seed)
                self.trail.append(("promote", name, alias, before, after))

    @rule(name=NAMES, alias=ALIASES)
    def rollback(self, name: str, alias: str) -> None:
        history = self.history.get((name, alias), [])
        if len(history) < 2:
            with pytest.raises(NothingToRollBack):
                self.registry.rollback(name, alias, reason="worse")
            return
        before = self.meaning(name, alias)
        history.pop()
        after = self.meaning(name, alias)
        done = self.registry.rollback(name, alias, reason="worse")
        assert (done.before, done.after) == (before, after)
        self.trail.append(("rollback", name, alias, before, after))

    @rule(name=NAMES)
    def attach(self, name: str) -> None:
        if len(self.versions.get(name, {})) != 1:
            return
        made = self.registry.attach(f"{name}", {"f1": 0.5}, reason="nightly")
        self.trail.append(("evaluate", name, None, None, made.version))

    @rule()
    def open_again(self) -> None:
        self.registry = registry(self.location, creates=False)

    @invariant()
    def it_says_what_the_dictionaries_say(self) -> None:
        moment = self.registry.moment()
        assert moment.aliases == {key: self.meaning(*key) for key in self.history}
        assert {(record.name, record.version) for record in moment.records} == {
            (name, version) for name, known in self.versions.items() for version in known.values()
        }
        assert moment.change == len(self.trail)

    def teardown(self) -> None:
        trail = self.registry.log()
        assert self.trail == [(e.action, e.name, e.alias, e.before, e.after) for e in trail]
        assert self.registry.verify().is_clean
        assert self.registry.verify().leftovers == ()


def test_the_registry_does_what_dictionaries_would(
    tmp_path: Path, new_location: NewLocation
) -> None:
    for seed in range(1, NUM_PACKAGES + 1):
        package(tmp_path / str(seed), seed)
    # Databases of a server are made slowly.
    num_examples = 8 if new_location is str else 2
    run_state_machine_as_test(
        lambda: RegistryMachine(tmp_path, new_location),
        settings=settings(max_examples=num_examples, stateful_step_count=20, deadline=None),
    )
