from __future__ import annotations

import errno
import threading
from pathlib import Path

import pytest

from descant.model.storage import (
    default_cache_dir,
    locked,
    remove_leftovers,
    replaced,
    storage_errors,
)
from descant.schema.errors import InvalidConfig, StorageFull


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "folder"
    with pytest.raises(KeyError), replaced(folder) as partial:
        (partial / "file").write_text("new")
        assert not folder.exists()
        raise KeyError
    assert list(folder.parent.iterdir()) == []
    for text in ("first", "second"):
        with replaced(folder) as partial:
            (partial / "file").write_text(text)
        assert (folder / "file").read_text() == text
    assert list(folder.parent.iterdir()) == [folder]


def test_what_killed_writers_left_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / ".folder.partial-x").mkdir()
    (tmp_path / ".folder.partial-x" / "file").write_text("half")
    (tmp_path / ".folder.old-y" / "folder").mkdir(parents=True)
    (tmp_path / ".other.partial-z").mkdir()
    remove_leftovers(folder)
    assert {path.name for path in tmp_path.iterdir()} == {"folder", ".other.partial-z"}


def test_the_old_folder_comes_back_if_the_change_was_cut_off(tmp_path: Path) -> None:
    (tmp_path / ".folder.old-y" / "folder").mkdir(parents=True)
    (tmp_path / ".folder.old-y" / "folder" / "file").write_text("old")
    remove_leftovers(tmp_path / "folder")
    assert (tmp_path / "folder" / "file").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_only_one_at_a_time_holds_the_lock(tmp_path: Path) -> None:
    inside, most = 0, 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(20):
            with locked(tmp_path / "folder"):
                inside += 1
                most = max(most, inside)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, StorageFull),
        (errno.EDQUOT, StorageFull),
        (errno.EROFS, InvalidConfig),
        (errno.EACCES, InvalidConfig),
        (errno.EIO, OSError),
    ],
)
def test_errors_of_the_disk_are_told_apart(number: int, expected: type[Exception]) -> None:
    with pytest.raises(expected) as caught, storage_errors(Path("somewhere")):
        raise OSError(number, "text")
    if expected is not OSError:
        assert "somewhere" in str(caught.value) and "DESCANT_CACHE" in str(caught.value)


def test_where_the_cache_is() -> None:
    assert default_cache_dir({"DESCANT_CACHE": "/here"}) == Path("/here")
    assert default_cache_dir({}).name == "descant"
