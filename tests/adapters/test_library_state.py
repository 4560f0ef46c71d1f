"""The library under random sequences of operations, against a plain dictionary of names."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from descant.schema.errors import AdapterExists, AdapterNotFound
from tests.adapters.folders import ONE, adapter, library, write

NUM_CONTENTS = 4
CONTENTS = [adapter(seed).content_hash for seed in range(NUM_CONTENTS)]
NAMES = st.sampled_from(["empathy", "refund", "greeting"])
INDEXES = st.integers(0, NUM_CONTENTS - 1)


class LibraryMachine(RuleBasedStateMachine):
    def __init__(self, place: Path) -> None:
        super().__init__()
        self.folders = [place / f"content-{index}" for index in range(NUM_CONTENTS)]
        self.library = library(allowed=(place,), host_bytes=2 * ONE)
        self.versions: dict[str, list[int]] = {}
        """The contents of each name, the current one last."""
        self.pins: set[tuple[str, int | None]] = set()
        self.held: set[str] = set()
        """The contents that memory held after the step before."""

    @rule(name=NAMES, index=INDEXES)
    def register(self, name: str, index: int) -> None:
        if self.versions.get(name, [index])[-1] != index:
            with pytest.raises(AdapterExists):
                self.library.register(name, self.folders[index])
            return
        assert self.library.register(name, self.folders[index]).version == CONTENTS[index]
        self.versions.setdefault(name, [index])

    @rule(name=NAMES, index=INDEXES)
    def replace(self, name: str, index: int) -> None:
        if name not in self.versions:
            with pytest.raises(AdapterNotFound):
                self.library.replace(name, self.folders[index])
            return
        self.library.replace(name, self.folders[index])
        self.versions[name] = [i for i in self.versions[name] if i != index] + [index]

    @rule(name=NAMES)
    def load(self, name: str) -> None:
        if name not in self.versions:
            with pytest.raises(AdapterNotFound):
                self.library.load(name)
            return
        loaded = self.library.load(name)
        assert (loaded.name, loaded.content_hash) == (name, CONTENTS[self.versions[name][-1]])
        self.assert_held(name, None)

    @rule(name=NAMES, index=INDEXES, length=st.integers(15, 71))
    def load_version(self, name: str, index: int, length: int) -> None:
        asked = f"{name}@{CONTENTS[index][:length]}"
        if index not in self.versions.get(name, []):
            with pytest.raises(AdapterNotFound):
                self.library.load(asked)
            return
        assert self.library.load(asked).content_hash == CONTENTS[index]

    @rule(name=NAMES, index=st.none() | INDEXES)
    def unregister(self, name: str, index: int | None) -> None:
        if not self.is_there(name, index):
            with pytest.raises(AdapterNotFound):
                self.library.unregister(self.asked(name, index))
            return
        self.library.unregister(self.asked(name, index))
        kept = [i for i in self.versions.pop(name) if index is not None and i != index]
        if kept:
            self.versions[name] = kept
        self.pins = {pin for pin in self.pins if self.is_there(*pin)}

    @rule(name=NAMES, index=st.none() | INDEXES)
    def pin(self, name: str, index: int | None) -> None:
        if not self.is_there(name, index):
            with pytest.raises(AdapterNotFound):
                self.library.pin(self.asked(name, index))
            return
        self.library.pin(self.asked(name, index))
        self.pins.add((name, index))
        self.assert_held(name, index)

    @rule(name=NAMES, index=st.none() | INDEXES)
    def unpin(self, name: str, index: int | None) -> None:
        if self.is_there(name, index):
            self.library.unpin(self.asked(name, index))
            self.pins.discard((name, index))

    def assert_held(self, name: str, index: int | None) -> None:
        """A pinned content is in memory once it has been loaded."""
        assert (name, index) not in self.pins or self.library.entry(
            self.asked(name, index)
        ).state == "host"

    def is_there(self, name: str, index: int | None) -> bool:
        return name in self.versions and (index is None or index in self.versions[name])

    def asked(self, name: str, index: int | None) -> str:
        return name if index is None else f"{name}@{CONTENTS[index]}"

    @invariant()
    def the_list_is_what_the_dictionary_says(self) -> None:
        listed = [(e.name, e.version, e.is_current) for e in self.library.list()]
        assert listed == [
            (name, CONTENTS[index], index == indexes[-1])
            for name, indexes in sorted(self.versions.items())
            for index in indexes
        ]

    @invariant()
    def bytes_add_up_and_only_pinned_ones_exceed_the_bound(self) -> None:
        entries = self.library.list()
        held = {e.version: e.host_bytes for e in entries if e.state == "host"}
        assert all(size == ONE for size in held.values())
        assert self.library.stats().host_bytes == sum(held.values())
        pinned = {
            CONTENTS[self.versions[name][-1] if index is None else index]
            for name, index in self.pins
        }
        # A pinned name may go back to a version that memory dropped: only what it held must stay.
        assert pinned & self.held <= set(held)
        assert {e.version for e in entries if e.is_pinned} == pinned
        assert len(held) <= max(2, len(pinned))
        self.held = {version for version in held if version is not None}


def test_the_library_does_what_a_dictionary_would(tmp_path: Path) -> None:
    for index in range(NUM_CONTENTS):
        write(tmp_path / f"content-{index}", index)
    run_state_machine_as_test(
        lambda: LibraryMachine(tmp_path), settings=settings(max_examples=40, deadline=None)
    )
