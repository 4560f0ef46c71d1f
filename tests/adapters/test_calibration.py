"""A calibration belongs to a name and is read with its weights, whose content it does not change."""

from __future__ import annotations

from pathlib import Path

import pytest

from descant.adapters import AdapterLibrary
from descant.registry import read_manifest, write_manifest
from descant.schema.errors import AdapterExists
from tests.adapters.folders import library, write, write_with_manifest
from tests.registry.adapters import WARM, manifest

COOL = {**WARM, "temperature": 0.5}


def recalibrate(folder: Path, table: dict[str, object] | None) -> None:
    """Write another calibration beside weights that stay."""
    told = read_manifest(folder)
    write_manifest(
        folder,
        manifest(base_hash=told.base_hash, content_hash=told.content_hash, calibration=table),
    )


def temperature(made: AdapterLibrary, name: str) -> float | None:
    calibration = made.content(name).calibration
    return calibration and calibration.to_json()["temperature"]


def test_it_is_known_before_the_weights_are_read_and_does_not_change_their_hash(
    tmp_path: Path,
) -> None:
    content = write_with_manifest(tmp_path / "warm", 1, calibration=WARM)
    assert write_with_manifest(tmp_path / "raw", 1) == content
    write(tmp_path / "bare", 1)
    made = library(tmp_path)
    assert [entry.calibration is not None for entry in made.list()] == [False, False, True]
    assert [temperature(made, name) for name in ("warm", "raw", "bare")] == [2.0, None, None]
    assert made.content("warm").adapter.content_hash == content
    assert made.content("warm").adapter.weights is made.content("raw").adapter.weights


def test_a_new_one_counts_once_the_name_is_replaced(tmp_path: Path) -> None:
    content = write_with_manifest(tmp_path / "empathy", 1, calibration=WARM)
    made = library(tmp_path)
    under_way = made.content("empathy")
    recalibrate(tmp_path / "empathy", COOL)
    made.scan()
    assert temperature(made, "empathy") == 2.0
    with pytest.raises(AdapterExists, match="another calibration"):
        made.register("empathy", tmp_path / "empathy")
    assert temperature(made, "empathy") == 2.0
    assert made.replace("empathy", tmp_path / "empathy").version == content
    assert temperature(made, "empathy") == 0.5
    assert temperature(made, f"empathy@{content}") == 0.5
    assert len(made.list()) == 1
    assert under_way.calibration != made.content("empathy").calibration
    recalibrate(tmp_path / "empathy", None)
    made.replace("empathy", tmp_path / "empathy")
    assert temperature(made, "empathy") is None


def test_it_is_read_again_with_weights_that_memory_dropped(tmp_path: Path) -> None:
    write_with_manifest(tmp_path / "empathy", 1, calibration=WARM)
    made = library(tmp_path, host_bytes=0)
    assert temperature(made, "empathy") == 2.0
    recalibrate(tmp_path / "empathy", COOL)
    assert temperature(made, "empathy") == 0.5


def test_one_that_is_registered_before_it_was_read_is_what_the_folder_says_now(
    tmp_path: Path,
) -> None:
    write_with_manifest(tmp_path / "empathy", 1, calibration=WARM)
    made = library(tmp_path)
    recalibrate(tmp_path / "empathy", COOL)
    made.register("empathy", tmp_path / "empathy")
    assert temperature(made, "empathy") == 0.5


def test_a_blend_has_none(tmp_path: Path) -> None:
    write_with_manifest(tmp_path / "empathy", 1, calibration=WARM)
    made = library(tmp_path)
    blend = made.blend({"empathy": 1.0})
    assert made.blend({"empathy": 1.0}) is blend
