"""Folders that are written over, deleted, broken or not allowed: what the library then serves."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from descant.model import LoraAdapter
from descant.schema.errors import AdapterNotFound, DescantError, InvalidAdapter
from tests.adapters.folders import (
    ONE,
    CountingLoader,
    adapter,
    library,
    same_weights,
    write,
    write_with_manifest,
)


def test_a_version_that_was_written_over_lives_in_memory_only(tmp_path: Path) -> None:
    old = write(tmp_path / "empathy", 1)
    made = library(tmp_path, host_bytes=ONE)
    made.load("empathy")
    new = write(tmp_path / "empathy", 2)
    assert made.load("empathy").content_hash == old
    made.pin("empathy")
    made.pin(f"empathy@{old}")
    made.replace("empathy", tmp_path / "empathy")
    assert made.load("empathy").content_hash == new
    assert made.load(f"empathy@{old}").content_hash == old
    made.unpin(f"empathy@{old}")
    with pytest.raises(AdapterNotFound, match="no version"):
        made.load(f"empathy@{old}")
    assert [entry.version for entry in made.list()] == [new]


def test_a_folder_written_again_is_a_new_version_when_it_is_next_read(tmp_path: Path) -> None:
    old = write(tmp_path / "empathy", 1)
    made = library(tmp_path, host_bytes=0)
    assert made.load("empathy").content_hash == old
    new = write(tmp_path / "empathy", 2)
    with pytest.raises(AdapterNotFound, match="now holds other weights"):
        made.load(f"empathy@{old}")
    assert made.load("empathy").content_hash == new
    assert [entry.version for entry in made.list()] == [new]


def test_what_is_unregistered_stays_with_who_has_it(tmp_path: Path) -> None:
    write(tmp_path / "empathy", 1)
    made = library(tmp_path)
    held = made.load("empathy")
    made.unregister("empathy")
    assert made.list() == ()
    assert made.stats().host_bytes == 0
    assert same_weights(held, adapter(1))
    with pytest.raises(AdapterNotFound):
        made.load("empathy")
    assert (tmp_path / "empathy").is_dir()


def test_a_deleted_folder_serves_from_memory_and_is_then_not_found(tmp_path: Path) -> None:
    for seed, name in enumerate("ab"):
        write(tmp_path / name, seed)
    made = library(tmp_path, host_bytes=ONE)
    held = made.load("a")
    shutil.rmtree(tmp_path / "a")
    assert made.load("a") is held
    made.load("b")
    with pytest.raises(AdapterNotFound):
        made.load("a")
    write(tmp_path / "a", 0)
    assert same_weights(made.load("a"), held)


@pytest.mark.parametrize("damage", ["no weights", "cut", "no config", "bad manifest", "nan"])
def test_a_folder_that_is_not_whole_never_becomes_visible(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "next"
    write_with_manifest(folder, 2)
    weights = folder / "adapter_model.safetensors"
    {
        "no weights": weights.unlink,
        "cut": lambda: weights.write_bytes(weights.read_bytes()[:-100]),
        "no config": (folder / "adapter_config.json").unlink,
        "bad manifest": lambda: (folder / "manifest.json").write_text("{"),
        "nan": lambda: weights.write_bytes(weights.read_bytes()[:-100] + b"\xff" * 100),
    }[damage]()
    old = write(tmp_path / "in" / "empathy", 1)
    made = library(tmp_path / "in", allowed=(tmp_path,))
    for call in (made.register, made.replace):
        with pytest.raises(InvalidAdapter, match=str(folder)):
            call("empathy", folder)
    with pytest.raises(InvalidAdapter):
        made.register("another", folder)
    assert [entry.name for entry in made.list()] == ["empathy"]
    assert made.load("empathy").content_hash == old
    shutil.rmtree(folder)
    with pytest.raises(AdapterNotFound):
        made.replace("empathy", folder)


def test_files_that_change_while_they_are_read_are_refused(tmp_path: Path) -> None:
    class Rewriting(CountingLoader):
        def __call__(self, folder: Path) -> LoraAdapter:
            loaded = super().__call__(folder)
            if len(self.loads) == 1:
                write(folder, 2)
            return loaded

    write(tmp_path / "empathy", 1)
    made = library(tmp_path, loader=Rewriting())
    with pytest.raises(InvalidAdapter, match="changed while"):
        made.load("empathy")
    assert same_weights(made.load("empathy"), adapter(2))


def test_paths_outside_the_allowed_folders_are_refused(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    write(outside / "empathy", 1)
    write(inside / "whole", 2)
    (inside / "link").symlink_to(outside / "empathy")
    shutil.copytree(inside / "whole", inside / "file-link")
    (inside / "file-link" / "adapter_model.safetensors").unlink()
    (inside / "file-link" / "adapter_model.safetensors").symlink_to(
        outside / "empathy" / "adapter_model.safetensors"
    )
    (inside / "loop").symlink_to(inside / "loop")
    write(inside / ".partial", 3)
    (tmp_path / "to-inside").symlink_to(inside)
    loader = CountingLoader()
    made = library(inside, loader=loader)
    for path in (
        str(outside / "empathy"),
        outside / "empathy",
        str(inside / ".." / "outside" / "empathy"),
        str(inside / "link"),
        str(inside / "file-link"),
        str(inside / ".partial"),
        str(inside) + "-not",
        "relative",
        "/",
        "",
        "\0",
        "x" * 5000,
    ):
        with pytest.raises(InvalidAdapter) as caught:
            made.register("taken", path)
        assert caught.value.field == "lora_path", path
        with pytest.raises(InvalidAdapter):
            made.replace("whole", path)
    with pytest.raises(DescantError):
        made.register("taken", inside / "loop")
    assert loader.loads in ([], ["loop"])
    made.register("taken", tmp_path / "to-inside" / "whole")


def test_odd_names_are_not_registered(tmp_path: Path) -> None:
    content = write(tmp_path / "empathy", 1)
    made = library(tmp_path)
    with pytest.raises(InvalidAdapter) as caught:
        made.register(f"empathy@{content}", tmp_path / "empathy")
    assert caught.value.field == "lora_name"


def test_a_new_name_is_not_replaced(tmp_path: Path) -> None:
    write(tmp_path / "v1", 1)
    with pytest.raises(AdapterNotFound):
        library(allowed=(tmp_path,)).replace("empathy", tmp_path / "v1")
