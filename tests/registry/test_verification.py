from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from descant.registry import Registry
from descant.registry.content_store import ContentStore
from descant.registry.folder_lock import folder_lock
from descant.registry.location import Location
from tests.registry.packages import WEIGHTS, package, registry


@pytest.fixture
def made(tmp_path: Path) -> Registry:
    made = registry(tmp_path / "registry")
    for seed in (1, 2):
        made.add(package(tmp_path / str(seed), seed), "empathy")
    made.promote("empathy@" + made.records()[0].version, reason="first")
    return made


def kinds(made: Registry) -> list[str]:
    return [finding.kind for finding in made.verify().findings]


def test_what_is_whole_is_clean(made: Registry) -> None:
    found = made.verify()
    assert found.is_clean
    assert (found.num_versions, found.num_files, found.num_changes) == (2, 6, 3)


def test_every_kind_of_damage_is_named(made: Registry) -> None:
    folder = made.folder(made.records()[0].version)
    (folder / WEIGHTS).chmod(0o644)
    (folder / WEIGHTS).write_bytes(b"other")
    (folder / "manifest.json").unlink()
    (folder / "more.json").write_text("{}")
    (folder.parent / "stranger").mkdir()
    shutil.rmtree(made.folder(made.records()[1].version))
    found = {(finding.kind, Path(finding.where).name) for finding in made.verify().findings}
    assert found == {
        ("damaged", WEIGHTS),
        ("missing", "manifest.json"),
        ("unknown", "more.json"),
        ("unknown", "stranger"),
        ("missing", made.records()[1].version.removeprefix("sha256:")),
    }


def test_adding_again_repairs(made: Registry, tmp_path: Path) -> None:
    folder = made.folder(made.records()[0].version)
    (folder / WEIGHTS).unlink()
    shutil.rmtree(made.folder(made.records()[1].version))
    assert kinds(made) == ["missing", "missing"]
    for seed in (1, 2):
        made.add(tmp_path / str(seed), "empathy")
    assert made.verify(cleans=True).is_clean
    assert made.last_change() == 3


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE registry_aliases SET version = (SELECT max(version) FROM registry_versions "
        "WHERE version <> registry_aliases.version)",
        "DELETE FROM registry_aliases",
        "UPDATE registry_state SET last_change = 7",
        "UPDATE registry_files SET sha256 = path",
        "DROP TRIGGER registry_audit_is_kept; DELETE FROM registry_audit WHERE number = 1",
        "DROP TRIGGER registry_audit_is_kept; DELETE FROM registry_audit WHERE number = 3",
        "DROP TRIGGER registry_audit_stays; UPDATE registry_audit SET before = after",
    ],
)
def test_a_catalogue_changed_by_hand_is_noticed(made: Registry, statement: str) -> None:
    engine = create_engine(made.location.database, poolclass=NullPool)
    with engine.begin() as connection:
        for part in statement.split(";"):
            connection.execute(text(part))
    assert "catalogue" in kinds(made)


def leave(store: ContentStore, name: str) -> None:
    (store.path / name).mkdir()
    (store.path / name / "part").write_text("half")


def test_leftovers_are_told_and_swept_by_the_next_to_add(made: Registry, tmp_path: Path) -> None:
    store = ContentStore(made.location.contents)
    for name in (".new-1234", ".damaged-1234", "." + "0" * 64):
        leave(store, name)
    (store.path / ".stray").write_text("x")
    found = made.verify()
    assert found.is_clean
    assert len(found.leftovers) == 4
    made.add(tmp_path / "1", "empathy")
    assert made.verify().leftovers == ()


def test_what_the_catalogue_knew_before_the_kill_is_finished(made: Registry) -> None:
    version = made.records()[0].version
    folder = made.folder(version)
    staged = folder.with_name(f".{folder.name}")
    folder.rename(staged)
    assert made.folder(version).is_dir()
    folder.rename(staged)
    found = made.verify(cleans=True)
    assert found.is_clean
    assert found.removed == ()
    assert folder.is_dir()
    shutil.copytree(folder, staged)
    assert made.verify(cleans=True).removed == (staged.name,)


def test_nothing_is_swept_while_someone_adds(made: Registry, tmp_path: Path) -> None:
    store = ContentStore(made.location.contents)
    leave(store, ".new-1234")
    with folder_lock(store.path, is_shared=True):
        made.add(tmp_path / "1", "kindness")
        assert made.verify().leftovers == (".new-1234",)
    assert made.verify(cleans=True).removed == (".new-1234",)


def test_a_newer_format_is_refused(made: Registry) -> None:
    from descant.schema.errors import RegistryNotFound

    engine = create_engine(made.location.database, poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text("UPDATE registry_state SET format = 2"))
    with pytest.raises(RegistryNotFound, match="format 2"):
        registry(str(made.location), creates=False)
    assert str(Location.parse(str(made.location))) == str(made.location)
