from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from descant.registry import CONFIG_FILE
from descant.registry.parcel import INDEX_FILE
from descant.schema.errors import AdapterNotFound, InvalidAdapter
from tests.registry.packages import WEIGHTS, package, registry

Members = list[tuple[tarfile.TarInfo, bytes]]


@pytest.fixture
def parcel(tmp_path: Path) -> Path:
    source = registry(tmp_path / "source")
    source.add(package(tmp_path / "empathy", 1))
    source.export("empathy", tmp_path / "empathy.tar")
    return tmp_path / "empathy.tar"


def members(path: Path) -> Members:
    with tarfile.open(path) as opened:
        return [(member, (opened.extractfile(member) or io.BytesIO()).read()) for member in opened]


def write(path: Path, found: Members) -> Path:
    with tarfile.open(path, "w:") as opened:
        for member, content in found:
            member.size = len(content) if member.isreg() else 0
            opened.addfile(member, io.BytesIO(content))
    return path


def refused(parcel: Path, said: str) -> None:
    made = registry(parcel.parent / "target")
    with pytest.raises(InvalidAdapter, match=said):
        made.import_parcel(parcel)
    assert made.records() == []
    checked = made.verify()
    assert checked.is_clean
    assert checked.leftovers == ()


def test_an_adapter_travels_as_one_file(location: str, parcel: Path, tmp_path: Path) -> None:
    made = registry(location)
    record = made.import_parcel(parcel)
    assert registry(tmp_path / "source").record("empathy").version == record.version
    assert (record.name, made.log()[0].action) == ("empathy", "import")
    assert made.import_parcel(parcel, "kindness").version == record.version
    made.export("kindness", tmp_path / "again.tar")
    assert made.import_parcel(tmp_path / "again.tar").name == "kindness"
    made.export("empathy", tmp_path / "same.tar")
    assert (tmp_path / "same.tar").read_bytes() == parcel.read_bytes()
    assert made.verify().is_clean


def test_what_is_not_there_or_damaged_is_not_exported(tmp_path: Path) -> None:
    made = registry(tmp_path / "registry")
    with pytest.raises(AdapterNotFound):
        made.export("empathy", tmp_path / "a.tar")
    version = made.add(package(tmp_path / "empathy", 1)).version
    (made.folder(version) / WEIGHTS).unlink()
    with pytest.raises(InvalidAdapter, match="damaged"):
        made.export("empathy", tmp_path / "a.tar")
    assert not (tmp_path / "a.tar").exists()


def test_a_byte_anywhere_is_noticed_or_does_not_matter(parcel: Path, tmp_path: Path) -> None:
    content = parcel.read_bytes()
    want = registry(tmp_path / "source").record("empathy").version
    made = registry(tmp_path / "target")
    for at in range(0, len(content), 97):
        damaged = bytearray(content)
        damaged[at] ^= 0x41
        parcel.write_bytes(damaged)
        try:
            assert made.import_parcel(parcel, "empathy").version == want
        except InvalidAdapter:
            assert all(record.version == want for record in made.records())
    assert made.verify().is_clean


@pytest.mark.parametrize("share", [0.0, 0.1, 0.2, 0.3, 0.4])
def test_a_part_of_a_parcel_is_refused(parcel: Path, share: float) -> None:
    content = parcel.read_bytes()
    parcel.write_bytes(content[: int(share * len(content))])
    refused(parcel, "not taken in")


@pytest.mark.parametrize(
    "path",
    [
        "../escaped.json",
        "/tmp/escaped.json",
        "a/../../b.json",
        "code.pkl",
        "reader/../x.json",
        ".a",
    ],
)
def test_a_path_that_leads_elsewhere_is_refused(parcel: Path, path: str) -> None:
    def add_file(index: dict[str, Any]) -> None:
        index["files"].append({"path": path, "sha256": "0" * 64, "num_bytes": 2})

    refused(change_index(parcel, add_file), "is not accepted")
    refused(write(parcel, [*members(parcel), (tarfile.TarInfo(path), b"{}")]), "not accepted|not w")


def change_index(parcel: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    (head, content), *rest = members(parcel)
    index = json.loads(content)
    change(index)
    return write(parcel, [(head, json.dumps(index).encode()), *rest])


@pytest.mark.parametrize(
    "change",
    [
        lambda index: index.update(version="sha256:" + "0" * 64),
        lambda index: index.update(format_version=2),
        lambda index: index.update(owner="me"),
        lambda index: index.update(files="all"),
        lambda index: index["files"].clear(),
        lambda index: index["files"].append(index["files"][0]),
        lambda index: index["files"][0].update(num_bytes=-1),
        lambda index: index["files"][0].update(num_bytes="1"),
        lambda index: index["files"][0].update(path=7),
        lambda index: index["files"][0].update(path=["a"]),
        lambda index: index["files"][0].update(mode=7),
        lambda index: index.pop("name"),
    ],
)
def test_an_index_that_does_not_add_up_is_refused(
    parcel: Path, change: Callable[[dict[str, Any]], Any]
) -> None:
    refused(change_index(parcel, change), "not taken in|not accepted|missing")


def test_links_doubles_strangers_and_missing_files_are_refused(
    parcel: Path, tmp_path: Path
) -> None:
    whole = members(parcel)
    link = tarfile.TarInfo(WEIGHTS)
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    without = [pair for pair in whole if pair[0].name != WEIGHTS]
    refused(write(parcel, [*without, (link, b"")]), "not what its index names")
    refused(write(parcel, without), f"{WEIGHTS} is missing")
    refused(write(parcel, [*whole, whole[-1]]), "not what its index names")
    refused(write(parcel, [*whole, (tarfile.TarInfo("more.json"), b"{}")]), "not what")
    refused(write(parcel, whole[1:]), f"does not begin with {INDEX_FILE}")
    changed = [(m, b"{} " if m.name == CONFIG_FILE else c) for m, c in whole]
    refused(write(parcel, changed), CONFIG_FILE)
    refused(tmp_path / "nowhere.tar", "cannot be read")


def test_a_parcel_with_a_consistent_hash_must_still_hold_an_adapter(
    parcel: Path, tmp_path: Path
) -> None:
    source = registry(tmp_path / "forged")
    folder = package(tmp_path / "bad", 2)
    record = source.add(folder)
    kept = source.folder(record.version) / WEIGHTS
    from descant.registry.content import read_content
    from descant.registry.parcel import write_parcel

    kept.chmod(0o644)
    kept.write_bytes(b"\x80\x04a pickle")
    write_parcel(parcel, "bad", kept.parent, read_content(kept.parent))
    refused(parcel, "not a whole safetensors file")
