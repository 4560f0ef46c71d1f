from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from descant.adapters import AdapterLibrary, RegistryFollower
from descant.registry import Registry
from descant.schema.errors import AdapterNotFound
from tests.adapters.folders import Clock, CountingLoader, library, write_with_manifest
from tests.registry.packages import WEIGHTS, registry

QUESTION = {"name": "empathy", "question": "Kind?", "labels": ["no", "yes"], "positive": ["yes"]}


class Followed:
    """A registry with three versions of ``empathy``, and a library that follows it."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.registry: Registry = registry(place / "registry")
        self.weights: list[str] = []
        self.versions = [self.add(seed) for seed in (1, 2, 3)]
        self.loader, self.said = CountingLoader(), list[str]()
        self.library: AdapterLibrary = library(loader=self.loader)

    def add(self, seed: int, **changes: object) -> str:
        folder = self.place / "made" / str(len(self.weights))
        told: dict[str, object] = {"base_hash": "sha256:tiny", "indicator": QUESTION, **changes}
        self.weights.append(write_with_manifest(folder, seed, **told))
        return self.registry.add(folder, "empathy").version

    def promote(self, index: int, alias: str = "champion") -> None:
        self.registry.promote(f"empathy@{self.versions[index]}", alias, reason="test")

    def start(self) -> RegistryFollower:
        return RegistryFollower(self.library, self.registry, self.said.append, clock=Clock())

    def meant(self, name: str) -> int:
        return self.weights.index(self.library.load(name).content_hash)


@pytest.fixture
def followed(tmp_path: Path) -> Followed:
    return Followed(tmp_path)


def test_the_bare_name_is_the_champion_and_others_go_by_alias_or_hash(followed: Followed) -> None:
    followed.promote(0)
    followed.promote(1, "challenger")
    follower = followed.start()
    assert followed.loader.loads == []
    assert [followed.meant(name) for name in ("empathy", "empathy@challenger")] == [0, 1]
    for index in range(3):
        assert followed.meant(f"empathy@{followed.versions[index]}") == index
        assert followed.meant(f"empathy@{followed.weights[index][:20]}") == index
    current = {entry.name: entry.release for entry in followed.library.list() if entry.is_current}
    assert current == {
        "empathy": followed.versions[0],
        "empathy@challenger": followed.versions[1],
    }
    [indicator] = follower.indicators
    assert (indicator.question, indicator.adapter) == ("Kind?", "empathy")


def test_a_promotion_is_in_memory_before_the_name_means_it(followed: Followed) -> None:
    followed.promote(0)
    follower = followed.start()
    before = followed.library.load("empathy")
    followed.promote(2)
    assert followed.meant("empathy") == 0
    follower.follow()
    loads = len(followed.loader.loads)
    assert followed.meant("empathy") == 2
    assert len(followed.loader.loads) == loads
    assert before.content_hash == followed.weights[0]
    followed.registry.rollback("empathy", reason="test")
    follower.follow()
    # Memory still holds it: going back reads nothing.
    assert followed.meant("empathy") == 0
    assert len(followed.loader.loads) == loads
    assert followed.said == [f"empathy is {followed.versions[index]} now" for index in (2, 0)]


def test_without_a_champion_a_name_means_nothing(followed: Followed) -> None:
    follower = followed.start()
    with pytest.raises(AdapterNotFound, match="none is its champion"):
        followed.library.load("empathy")
    assert followed.meant(f"empathy@{followed.versions[1]}") == 1
    assert not any(entry.is_current for entry in followed.library.list())
    assert follower.indicators == ()
    followed.promote(1)
    follower.follow()
    assert followed.meant("empathy") == 1
    assert len(follower.indicators) == 1


def test_without_a_change_nothing_is_read(
    followed: Followed, monkeypatch: pytest.MonkeyPatch
) -> None:
    follower = followed.start()
    monkeypatch.setattr(followed.registry, "moment", lambda: pytest.fail("read"))
    follower.follow()


def test_what_cannot_be_loaded_leaves_the_name_and_is_tried_again(followed: Followed) -> None:
    followed.promote(0)
    follower = followed.start()
    weights = followed.registry.folder(followed.versions[2]) / WEIGHTS
    aside = shutil.move(weights, followed.place / "aside")
    followed.promote(2)
    for _ in range(3):
        follower.follow()
        assert followed.meant("empathy") == 0
    assert len(followed.said) == 1
    assert WEIGHTS in followed.said[0]
    shutil.move(aside, weights)
    # A look at the clock is a second.
    for _ in range(12):
        follower.follow()
    assert followed.meant("empathy") == 2
    assert followed.said[1:] == [f"empathy is {followed.versions[2]} now"]


def test_a_registry_that_does_not_answer_leaves_everything_as_it_is(followed: Followed) -> None:
    followed.promote(0)
    follower = followed.start()
    catalogue = followed.place / "registry" / "catalogue.sqlite"
    for path in catalogue.parent.glob("catalogue.sqlite-*"):
        path.unlink()
    content = catalogue.read_bytes()
    catalogue.write_bytes(b"x" * len(content))
    for _ in range(2):
        follower.follow()
    assert followed.meant("empathy") == 0
    assert len(followed.said) == 1
    assert "does not answer" in followed.said[0]
    catalogue.write_bytes(content)
    followed.promote(1)
    follower.follow()
    assert followed.meant("empathy") == 1


def test_releases_with_the_same_weights_stay_apart(followed: Followed) -> None:
    warm = {"method": "temperature", "temperature": 2.0, "num_examples": 40}
    calibrated = followed.add(1, calibration={**warm, "data_hash": "sha256:" + "0" * 64})
    followed.versions.append(calibrated)
    followed.promote(0)
    follower = followed.start()
    assert followed.library.content("empathy").calibration is None
    followed.promote(3)
    follower.follow()
    assert followed.library.content("empathy").calibration is not None
    plain = followed.library.content(f"empathy@{followed.versions[0]}")
    assert plain.calibration is None
    assert followed.library.load(f"empathy@{followed.weights[0]}").content_hash
