"""Adapters by name over real folders: names and versions, memory and blends."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from descant.adapters import AdapterLibrary, AdapterName, LibraryConfig
from descant.adapters.host_tier import num_bytes
from descant.model import LoadedModel
from descant.schema.errors import (
    AdapterExists,
    AdapterNotFound,
    InvalidAdapter,
    InvalidConfig,
)
from tests.adapters.folders import (
    CONFIG,
    ONE,
    CountingLoader,
    adapter,
    library,
    same_weights,
    write,
    write_with_manifest,
)
from tests.registry.adapters import HASH, adapter_folder
from tests.tiny import tiny_model


def in_memory(made: AdapterLibrary) -> set[str]:
    return {entry.name for entry in made.list() if entry.state == "host"}


def test_an_adapter_is_what_its_folder_holds(tmp_path: Path) -> None:
    content = write(tmp_path / "empathy", 1)
    loaded = library(tmp_path).load("empathy")
    assert loaded.name == "empathy"
    assert loaded.content_hash == content
    assert same_weights(loaded, adapter(1))


def test_a_library_for_a_model_loads_in_its_dtype_and_refuses_other_bases(tmp_path: Path) -> None:
    model = tiny_model(dtype=torch.bfloat16)
    base = LoadedModel(model, CONFIG, HASH, tmp_path)
    write_with_manifest(tmp_path / "fits", 1, base_hash=HASH)
    write_with_manifest(tmp_path / "other", 2, base_hash="sha256:" + "0" * 64)
    made = AdapterLibrary.for_model(base, LibraryConfig((tmp_path,)))
    assert {pair.a.dtype for pair in made.load("fits").weights.values()} == {torch.bfloat16}
    with pytest.raises(InvalidAdapter) as caught:
        made.load("other")
    assert caught.value.field == "base_hash"


def test_thousands_are_found_without_reading_weights(tmp_path: Path) -> None:
    for number in range(2000):
        adapter_folder(tmp_path / f"adapter-{number}")
    write_with_manifest(tmp_path / "empathy", 1)
    loader = CountingLoader()
    made = library(tmp_path, tmp_path / "none", loader=loader)
    assert len(made.list()) == 2001
    assert made.load("empathy").content_hash == made.resolve("empathy").version
    assert loader.loads == ["empathy"]


def test_the_first_folder_wins_and_later_ones_are_found_by_another_scan(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    content = write(first / "empathy", 1)
    write(second / "empathy", 2)
    made = library(first, second)
    write(second / "refund", 3)
    with pytest.raises(AdapterNotFound):
        made.load("refund")
    made.scan()
    assert made.load("refund").name == "refund"
    assert made.load("empathy").content_hash == content


def test_half_written_folders_and_version_like_names_are_not_found(tmp_path: Path) -> None:
    write(tmp_path / ".empathy.partial-1", 1)
    write(tmp_path / "empathy@sha256:0123456789", 1)
    assert library(tmp_path).list() == ()


def test_what_is_not_there_says_what_may_have_been_meant(tmp_path: Path) -> None:
    adapter_folder(tmp_path / "empathy")
    made = library(tmp_path)
    with pytest.raises(AdapterNotFound, match="Did you mean 'empathy'"):
        made.load("emphaty")
    with pytest.raises(AdapterNotFound, match="List the adapters"):
        made.resolve("x" * 100_000)
    for call in (made.unregister, made.pin, made.unpin, made.entry, made.load):
        with pytest.raises(AdapterNotFound):
            call("nothing")


@pytest.mark.parametrize("with_manifest", [True, False])
def test_a_version_is_found_by_the_beginning_of_its_hash(
    tmp_path: Path, with_manifest: bool
) -> None:
    content = (write_with_manifest if with_manifest else write)(tmp_path / "empathy", 1)
    digits = content.removeprefix("sha256:")
    for length in (8, 20, 64):
        made = library(tmp_path)
        asked = f"empathy@sha256:{digits[:length]}"
        assert made.resolve(asked) == AdapterName("empathy", content)
        assert made.load(asked).content_hash == content
    with pytest.raises(AdapterNotFound, match="no version"):
        library(tmp_path).load("empathy@sha256:0000000000")
    with pytest.raises(AdapterNotFound, match="no version"):
        library(tmp_path).resolve("empathy@sha256:0000000000")


def test_a_version_is_that_of_the_weights_whatever_the_manifest_says(tmp_path: Path) -> None:
    content = write_with_manifest(tmp_path / "empathy", 1, content_hash=HASH)
    made = library(tmp_path)
    assert made.resolve("empathy").version == HASH
    with pytest.raises(AdapterNotFound):
        made.load(f"empathy@{HASH}")
    assert made.resolve("empathy").version == content
    write_with_manifest(tmp_path / "refund", 2, content_hash="sha256:0123456789")
    assert library(tmp_path).resolve("refund").version is None


def test_the_list_tells_state_bytes_use_and_labels(tmp_path: Path) -> None:
    content = write_with_manifest(tmp_path / "empathy", 1)
    write(tmp_path / "refund", 2)
    made = library(tmp_path)
    empathy, refund = made.list()
    assert (empathy.name, empathy.version, empathy.state) == ("empathy", content, "registered")
    assert (refund.name, refund.version, refund.labels) == ("refund", None, None)
    assert empathy.labels == ("no", "yes")
    assert empathy.host_bytes == 0
    assert empathy.last_used_s is None
    made.load("refund")
    made.load("empathy")
    empathy, refund = made.list()
    assert (empathy.state, empathy.host_bytes, empathy.is_pinned) == ("host", ONE, False)
    assert refund.last_used_s is not None
    assert empathy.last_used_s is not None
    assert refund.last_used_s < empathy.last_used_s
    assert made.entry("empathy") == empathy
    assert empathy.folder == (tmp_path / "empathy").resolve()


def test_the_least_recently_used_is_dropped_and_read_again(tmp_path: Path) -> None:
    for seed, name in enumerate("abc"):
        write(tmp_path / name, seed)
    loader = CountingLoader()
    made = library(tmp_path, host_bytes=2 * ONE, loader=loader)
    held = made.load("a")
    made.load("b")
    made.load("a")
    made.load("c")
    assert in_memory(made) == {"a", "c"}
    assert made.load("a") is held
    made.load("b")
    assert loader.loads == ["a", "b", "c", "b"]
    stats = made.stats()
    assert (stats.loads, stats.evictions, stats.host_bytes) == (4, 2, 2 * ONE)
    assert stats.load_s > 0


def test_one_that_is_too_large_is_loaded_but_not_kept(tmp_path: Path) -> None:
    write(tmp_path / "small", 1)
    content = write(tmp_path / "large", 2, rank=4)
    made = library(tmp_path, host_bytes=ONE)
    made.load("small")
    assert made.load("large").content_hash == content
    assert in_memory(made) == {"small"}
    assert made.stats().evictions == 0


def test_pinned_adapters_stay_over_the_limit_until_unpinned(tmp_path: Path) -> None:
    for seed, name in enumerate("abc"):
        write(tmp_path / name, seed)
    made = library(tmp_path, host_bytes=ONE)
    made.pin("a")
    made.pin("b")
    made.load("c")
    assert in_memory(made) == {"a", "b"}
    assert [entry.is_pinned for entry in made.list()] == [True, True, False]
    made.unpin("a")
    assert in_memory(made) == {"b"}
    made.unpin("a")
    made.unregister("b")
    made.load("c")
    assert in_memory(made) == {"c"}


def test_a_pinned_name_stays_pinned_as_it_gets_new_versions(tmp_path: Path) -> None:
    write(tmp_path / "in" / "empathy", 1)
    write(tmp_path / "new", 2)
    made = library(tmp_path / "in", allowed=(tmp_path,), host_bytes=ONE)
    made.pin("empathy")
    old = made.resolve("empathy")
    made.replace("empathy", tmp_path / "new")
    assert [(e.is_current, e.is_pinned, e.state) for e in made.list()] == [
        (False, False, "registered"),
        (True, True, "host"),
    ]
    made.pin(str(old))
    assert [entry.state for entry in made.list()] == ["host", "host"]
    made.unpin("empathy")
    assert [entry.state for entry in made.list()] == ["host", "registered"]


def test_a_registered_folder_can_be_asked_for_at_once(tmp_path: Path) -> None:
    content = write(tmp_path / "elsewhere" / "v1", 1)
    loader = CountingLoader()
    made = library(allowed=(tmp_path,), loader=loader)
    assert made.register("team/empathy", str(tmp_path / "elsewhere" / "v1")) == AdapterName(
        "team/empathy", content
    )
    assert made.load("team/empathy").name == "team/empathy"
    assert loader.loads == ["v1"]


def test_the_same_content_may_be_registered_again_and_other_content_may_not(
    tmp_path: Path,
) -> None:
    content = write(tmp_path / "in" / "empathy", 1)
    write(tmp_path / "copy", 1)
    write(tmp_path / "other", 2)
    made = library(tmp_path / "in", allowed=(tmp_path,))
    for folder in (tmp_path / "in" / "empathy", tmp_path / "copy"):
        assert made.register("empathy", folder) == AdapterName("empathy", content)
    with pytest.raises(AdapterExists) as caught:
        made.register("empathy", tmp_path / "other")
    assert (caught.value.field, caught.value.http_status) == ("lora_name", 400)
    assert len(made.list()) == 1
    assert made.load("empathy").content_hash == content


def test_the_same_content_under_two_names_is_held_once(tmp_path: Path) -> None:
    for name in ("empathy", "kindness"):
        write(tmp_path / name, 1)
    made = library(tmp_path)
    one, other = made.load("empathy"), made.load("kindness")
    assert (one.name, other.name) == ("empathy", "kindness")
    assert one.content_hash == other.content_hash
    assert one.weights is other.weights
    assert made.stats().host_bytes == ONE
    made.unregister("empathy")
    assert made.load("kindness").weights is one.weights
    assert made.stats().loads == 2


def test_a_name_gets_new_weights_and_the_old_stay_reachable(tmp_path: Path) -> None:
    old = write(tmp_path / "v1", 1)
    new = write(tmp_path / "v2", 2)
    made = library(allowed=(tmp_path,), host_bytes=0)
    made.register("empathy", tmp_path / "v1")
    under_way = made.load("empathy")
    assert made.replace("empathy", tmp_path / "v2") == AdapterName("empathy", new)
    assert made.load("empathy").content_hash == new
    assert made.load(f"empathy@{old}").content_hash == old
    assert same_weights(under_way, adapter(1))
    assert [(entry.version, entry.is_current) for entry in made.list()] == [
        (old, False),
        (new, True),
    ]
    made.replace("empathy", tmp_path / "v1")
    assert [entry.version for entry in made.list()] == [new, old]
    made.unregister(f"empathy@{old}")
    assert made.load("empathy").content_hash == new
    with pytest.raises(AdapterNotFound, match="no version"):
        made.load(f"empathy@{old}")


def test_a_blend_is_one_adapter_kept_in_memory(tmp_path: Path) -> None:
    for seed, name in enumerate("ab"):
        write(tmp_path / name, seed)
    made = library(tmp_path)
    blend = made.blend({"a": 0.5, "b": -0.25})
    assert blend.name == "0.5 a + -0.25 b"
    assert blend.rank == 4
    assert made.blend({"b": -0.25, "a": 0.5}).weights is blend.weights
    assert made.stats().host_bytes == 2 * ONE + num_bytes(blend)
    with pytest.raises(AdapterNotFound):
        made.blend({"a": 0.5, "nothing": 0.5})
    write(tmp_path / "plain", 3, plain=True)
    made.scan()
    with pytest.raises(InvalidAdapter, match="different tokens"):
        made.blend({"a": 0.5, "plain": 0.5})


def test_a_blend_follows_the_versions_of_its_parts(tmp_path: Path) -> None:
    for seed, name in enumerate("abc"):
        write(tmp_path / name, seed)
    made = library(tmp_path)
    before = made.blend({"a": 0.5, "b": 0.5})
    made.replace("b", tmp_path / "c")
    after = made.blend({"a": 0.5, "b": 0.5})
    assert before.content_hash != after.content_hash
    assert not same_weights(before, after)


def test_a_negative_bound_is_refused() -> None:
    with pytest.raises(InvalidConfig):
        LibraryConfig(host_bytes=-1)
