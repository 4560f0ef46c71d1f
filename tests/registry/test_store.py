from __future__ import annotations

from pathlib import Path

import pytest

from descant.registry import MANIFEST_FILE, find_adapters, resolve_adapter, write_manifest
from descant.schema.errors import AdapterNotFound
from tests.registry.adapters import adapter_folder, manifest


def test_adapters_are_listed_by_name_with_their_manifests(tmp_path: Path) -> None:
    for name in ("refund", "greeting", "broken"):
        adapter_folder(tmp_path / name)
    write_manifest(tmp_path / "greeting", manifest())
    (tmp_path / "broken" / MANIFEST_FILE).write_text("{")
    found = {entry.name: entry for entry in find_adapters(tmp_path)}
    assert list(found) == ["broken", "greeting", "refund"]
    assert found["greeting"].manifest == manifest()
    assert found["refund"].manifest is None
    assert found["refund"].problem is None
    assert found["broken"].manifest is None
    assert MANIFEST_FILE in (found["broken"].problem or "")


def test_half_written_and_other_folders_are_not_listed(tmp_path: Path) -> None:
    adapter_folder(tmp_path / ".greeting.1234.tmp")
    (tmp_path / "empty").mkdir()
    (tmp_path / "adapter_config.json").write_text("{}")
    assert find_adapters(tmp_path) == []
    assert find_adapters(tmp_path / "none") == []


def test_a_name_is_the_first_one_found_in_the_search_order(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    adapter_folder(second / "greeting")
    assert resolve_adapter("greeting", [first, second]) == second / "greeting"
    adapter_folder(first / "greeting")
    assert resolve_adapter("greeting", [first, second]) == first / "greeting"


def test_a_path_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = adapter_folder(tmp_path / "runs" / "greeting")
    assert resolve_adapter(str(path), []) == path
    monkeypatch.chdir(tmp_path)
    assert resolve_adapter("runs/greeting", [tmp_path / "other"]) == Path("runs/greeting")
    monkeypatch.chdir(path.parent)
    assert resolve_adapter("greeting", []) == Path("greeting")


def test_a_path_is_not_looked_up_in_the_search_folders(tmp_path: Path) -> None:
    adapter_folder(tmp_path / "outside")
    (tmp_path / "adapters").mkdir()
    with pytest.raises(AdapterNotFound):
        resolve_adapter("../outside", [tmp_path / "adapters"])


def test_what_is_not_found_names_every_place_looked_at(tmp_path: Path) -> None:
    places = [tmp_path / "a", tmp_path / "b"]
    (places[1] / "greeting").mkdir(parents=True)
    with pytest.raises(AdapterNotFound) as caught:
        resolve_adapter("greeting", places)
    for place in places:
        assert str(place / "greeting") in str(caught.value)
    assert f"{places[1] / 'greeting'} has no adapter_config.json" in str(caught.value)


def test_a_name_of_dots_does_not_leave_the_search_folder(tmp_path: Path) -> None:
    adapter_folder(tmp_path / "outer" / "inner")
    for name, folder in ((".", "outer/inner"), ("..", "outer/inner/deep")):
        with pytest.raises(AdapterNotFound):
            resolve_adapter(name, [tmp_path / folder])


@pytest.mark.parametrize("name", ["", "\0", "x" * 5000, ".greeting.1234.tmp", "..", "."])
def test_odd_names_are_not_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    adapter_folder(tmp_path / ".greeting.1234.tmp")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(AdapterNotFound):
        resolve_adapter(name, [tmp_path])
