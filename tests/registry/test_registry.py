from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from descant.registry import Registry
from descant.registry.location import Location
from descant.schema.errors import (
    AdapterNotFound,
    AliasMoved,
    CatalogueUnavailable,
    DescantError,
    InvalidAdapter,
    InvalidConfig,
    NothingToRollBack,
    RegistryNotFound,
)
from tests.registry.packages import WEIGHTS, package, registry, weights_hash


def test_an_adapter_is_added_once_however_often(location: str, tmp_path: Path) -> None:
    made = registry(location)
    folder = package(tmp_path / "empathy", 1)
    first = made.add(folder)
    assert (first.name, first.weights_hash) == ("empathy", weights_hash(1))
    assert first.manifest is not None
    assert first.manifest["base_name"] == "tiny"
    assert made.add(folder) == first
    other = made.add(folder, "kindness")
    assert other.version == first.version
    assert [record.name for record in made.records()] == ["empathy", "kindness"]
    assert [entry.action for entry in made.log()] == ["add", "add"]
    kept = made.folder(first.version)
    assert (kept / WEIGHTS).read_bytes() == (folder / WEIGHTS).read_bytes()
    assert made.verify().is_clean


def test_what_is_kept_does_not_follow_its_source(location: str, tmp_path: Path) -> None:
    made = registry(location)
    folder = package(tmp_path / "empathy", 1)
    version = made.add(folder).version
    (folder / WEIGHTS).write_bytes(b"other")
    assert made.verify().is_clean
    assert made.record(f"empathy@{version}").version == version


def test_an_adapter_made_elsewhere_has_no_lineage(location: str, tmp_path: Path) -> None:
    made = registry(location)
    record = made.add(package(tmp_path / "foreign", 1, has_manifest=False))
    assert (record.manifest, record.weights_hash, record.parent) == (None, None, None)
    assert made.lineage("foreign").ancestors == ()


@pytest.mark.parametrize(
    "name",
    ["adapter_model.bin", "optimizer.pt", "notes.pkl", "run.sh", ".hidden", "a/b.json", "reader"],
)
def test_whatever_could_carry_code_or_is_strange_is_refused_by_name(
    tmp_path: Path, name: str
) -> None:
    made = registry(tmp_path / "registry")
    folder = package(tmp_path / "empathy", 1)
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"{}")
    with pytest.raises(InvalidAdapter) as caught:
        made.add(folder)
    assert caught.value.field == name
    assert caught.value.remedy
    assert made.records() == []
    assert made.verify().leftovers == ()


def test_a_pickle_called_safetensors_is_refused(tmp_path: Path) -> None:
    made = registry(tmp_path / "registry")
    folder = package(tmp_path / "empathy", 1)
    (folder / WEIGHTS).write_bytes(b"\x80\x04\x95" + b"x" * 100)
    with pytest.raises(InvalidAdapter, match="not a whole safetensors file"):
        made.add(folder)
    (folder / WEIGHTS).unlink()
    with pytest.raises(InvalidAdapter, match="missing"):
        made.add(folder)
    with pytest.raises(AdapterNotFound):
        made.add(tmp_path / "nowhere")


def test_a_linked_folder_and_a_half_reader_are_refused(tmp_path: Path) -> None:
    made = registry(tmp_path / "registry")
    folder = package(tmp_path / "empathy", 1)
    (folder / "reader").symlink_to(package(tmp_path / "elsewhere", 2), target_is_directory=True)
    with pytest.raises(InvalidAdapter, match="reader"):
        made.add(folder)
    (folder / "reader").unlink()
    package(folder / "reader", 3, has_manifest=False)
    assert made.add(folder).num_bytes
    (folder / "reader" / WEIGHTS).unlink()
    with pytest.raises(InvalidAdapter, match=f"reader/{WEIGHTS} is missing"):
        made.add(folder)


@pytest.mark.parametrize("name", ["", "a@b", "../up", ".dot", "a/b", "x" * 129, "a\nb", "-f"])
def test_a_name_that_could_mean_something_else_is_refused(tmp_path: Path, name: str) -> None:
    made = registry(tmp_path / "registry")
    with pytest.raises(InvalidConfig) as caught:
        made.add(package(tmp_path / "empathy", 1), name)
    assert caught.value.field == "name"


def test_an_alias_goes_forth_and_back_and_the_trail_says_why(location: str, tmp_path: Path) -> None:
    made = registry(location)
    one, two, three = (
        made.add(package(tmp_path / str(seed), seed), "empathy").version for seed in (1, 2, 3)
    )
    first = made.promote(f"empathy@{one}", reason="first", evidence={"macro_f1": 0.5})
    assert (first.before, first.after, first.number) == (None, one, 4)
    made.promote(f"empathy@{two}", reason="better", forced_reason="the boss")
    made.promote(f"empathy@{weights_hash(3)}", reason="by its weights")
    made.promote("empathy@champion", "fallback", reason="by alias")
    assert made.record("empathy").aliases == ("champion", "fallback")
    assert made.record("empathy@fallback").version == three
    assert [made.rollback("empathy", reason="bad").after for _ in range(2)] == [two, one]
    with pytest.raises(NothingToRollBack):
        made.rollback("empathy", reason="worse")
    with pytest.raises(NothingToRollBack):
        made.rollback("empathy", "challenger", reason="never was")
    trail = made.log("empathy", "champion")
    assert [(entry.action, entry.before, entry.after) for entry in trail] == [
        ("promote", None, one),
        ("promote", one, two),
        ("promote", two, three),
        ("rollback", three, two),
        ("rollback", two, one),
    ]
    assert trail[0].evidence == {"macro_f1": 0.5}
    assert (trail[1].forced_reason, trail[1].who) == ("the boss", "ada")
    assert [entry.number for entry in made.log()] == list(range(1, 10))
    assert made.last_change() == 9
    assert made.verify().is_clean


def test_what_it_means_already_is_no_change(location: str, tmp_path: Path) -> None:
    made = registry(location)
    made.add(package(tmp_path / "empathy", 1))
    made.promote("empathy", reason="first")
    again = made.promote("empathy", reason="again")
    assert (again.before, again.number) == (again.after, None)
    assert made.last_change() == 2


def test_a_decision_about_another_champion_changes_nothing(location: str, tmp_path: Path) -> None:
    made = registry(location)
    one, two = (made.add(package(tmp_path / str(seed), seed), "empathy").version for seed in (1, 2))
    made.promote(f"empathy@{one}", reason="first", expected=None)
    for expected in (None, two):
        with pytest.raises(AliasMoved) as caught:
            made.promote(f"empathy@{two}", reason="second", expected=expected)
        assert caught.value.field == "expected"
        with pytest.raises(AliasMoved):
            made.rollback("empathy", reason="back", expected=expected)
    assert made.record("empathy@champion").version == one
    assert made.promote(f"empathy@{two}", reason="second", expected=one).after == two


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"reason": " "}, "reason"),
        ({"reason": "a\0b"}, "reason"),
        ({"reason": "\ud800"}, "reason"),
        ({"reason": "x", "forced_reason": ""}, "reason"),
        ({"reason": "x", "evidence": {"f1": float("nan")}}, "evidence"),
        ({"reason": "x", "evidence": {1, 2}}, "evidence"),
        ({"reason": "x", "alias": "sha256:00"}, "alias"),
        ({"reason": "x", "alias": "Champion"}, "alias"),
    ],
)
def test_a_change_without_what_the_trail_needs_is_refused(
    tmp_path: Path, change: dict[str, object], field: str
) -> None:
    made = registry(tmp_path / "registry")
    made.add(package(tmp_path / "empathy", 1))
    with pytest.raises(InvalidConfig) as caught:
        made.promote("empathy", **change)  # type: ignore[arg-type]
    assert caught.value.field == field
    assert made.last_change() == 1


def test_odd_texts_come_back_as_they_went_in(location: str, tmp_path: Path) -> None:
    made = registry(location, user="Jürgen 🎹")
    made.add(package(tmp_path / "empathy", 1))
    evidence = {"text": "a\0b \ud800", "big": 10**30, "list": [None, 0.1, True], "": {}}
    made.promote("empathy", reason="line\nline 'quoted' %s :x", evidence=evidence)
    last = made.log()[-1]
    assert (last.evidence, last.reason) == (evidence, "line\nline 'quoted' %s :x")
    assert last.who == "Jürgen 🎹"


def test_what_is_not_there_is_said_with_what_may_have_been_meant(
    location: str, tmp_path: Path
) -> None:
    made = registry(location)
    one = made.add(package(tmp_path / "1", 1), "empathy").version
    made.add(package(tmp_path / "2", 2), "empathy")
    for name, said in {
        "empaty": "Did you mean 'empathy'",
        "empathy": "has no champion",
        "empathy@challenger": "has no challenger",
        f"empathy@{'sha256:' + '0' * 20}": "can be",
        "empathy@sha256:ffffffffffff": "no version",
        "empathy@ffff ffff": "A version is written",
        "": "No adapter",
    }.items():
        with pytest.raises(AdapterNotFound, match=said):
            made.record(name)
    assert made.record(f"empathy@{one[:20]}").version == one


def test_parents_and_children_are_found_by_their_weights(location: str, tmp_path: Path) -> None:
    made = registry(location)
    grandparent = weights_hash(9)
    one = made.add(package(tmp_path / "1", 1, parent=grandparent), "empathy")
    two = made.add(package(tmp_path / "2", 2, parent=weights_hash(1)), "empathy")
    lineage = made.lineage(two.full_name)
    assert [(a.weights_hash, a.known_as) for a in lineage.ancestors] == [
        (weights_hash(1), (one.full_name,)),
        (grandparent, ()),
    ]
    assert made.lineage(one.full_name).children == (two.full_name,)


def test_what_was_measured_stays_beside_its_version(location: str, tmp_path: Path) -> None:
    made = registry(location)
    made.add(package(tmp_path / "empathy", 1))
    for figure in (0.5, 0.75):
        made.attach("empathy", {"macro_f1": figure}, reason="nightly")
    found = made.evaluations("empathy")
    assert [(e.evidence["macro_f1"], e.number) for e in found] == [(0.5, 2), (0.75, 3)]
    assert made.log()[-1].action == "evaluate"


@pytest.mark.parametrize("table", ["registry_audit", "registry_evaluations"])
def test_what_happened_cannot_be_changed_or_deleted(
    location: str, tmp_path: Path, table: str
) -> None:
    made = registry(location)
    made.add(package(tmp_path / "empathy", 1))
    made.attach("empathy", {}, reason="nightly")
    engine = create_engine(Location.parse(location).database, poolclass=NullPool)
    statements = [f"UPDATE {table} SET who = 'eve'", f"DELETE FROM {table}"]
    if engine.dialect.name == "sqlite":
        copied = f"SELECT * FROM {table} WHERE number = 2"
        statements += [f"INSERT OR REPLACE INTO {table} {copied}"]
    else:
        statements += [f"TRUNCATE {table}"]
    for statement in statements:
        with pytest.raises(DBAPIError, match="append-only"), engine.begin() as connection:
            connection.execute(text(statement))
    engine.dispose()
    assert [entry.who for entry in made.log()] == ["ada", "ada"]


def test_without_a_registry_nothing_is_made_by_looking(location: str, tmp_path: Path) -> None:
    with pytest.raises(RegistryNotFound) as caught:
        registry(location, creates=False)
    assert caught.value.remedy
    assert not (tmp_path / "registry").exists()


def test_a_file_that_is_no_database_is_said(tmp_path: Path) -> None:
    (tmp_path / "catalogue.sqlite").write_bytes(b"something else, and long enough" * 100)
    with pytest.raises(CatalogueUnavailable, match="not a database"):
        registry(tmp_path, creates=False)


@pytest.mark.parametrize(
    "text_",
    [
        "mysql://a/b?store=/x",
        "postgresql://u:secret@nowhere/b",
        "postgresql://u:secret@h/b?store=relative",
        "://",
        "sqlite:///x",
    ],
)
def test_an_address_that_cannot_be_understood_is_refused_without_its_password(text_: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        Location.parse(text_)
    assert "secret" not in str(caught.value)


def test_a_server_that_is_not_there_is_said_without_the_password(tmp_path: Path) -> None:
    url = f"postgresql://u:secret@/b?host={tmp_path}&store={tmp_path}"
    with pytest.raises(CatalogueUnavailable) as caught:
        Registry(url, user="ada")
    assert "secret" not in str(caught.value)


def test_every_error_has_a_remedy(tmp_path: Path) -> None:
    made = registry(tmp_path / "registry")
    made.add(package(tmp_path / "empathy", 1))
    for attempt in (
        lambda: made.record("other"),
        lambda: made.rollback("empathy", reason="x"),
        lambda: made.promote("empathy@nothing", reason="x"),
        lambda: made.promote("empathy", reason="x", expected="sha256:00"),
    ):
        with pytest.raises(DescantError) as caught:
            attempt()
        assert caught.value.remedy, caught.value
