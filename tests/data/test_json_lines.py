from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from descant.data.json_lines import read_objects, write_objects
from descant.schema.errors import InvalidData


def test_blank_lines_and_a_byte_order_mark_are_skipped_and_lines_keep_their_numbers(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}\n\n  \n{"a": 2}')
    assert list(read_objects(path)) == [(1, {"a": 1}), (4, {"a": 2})]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"a": "\xff"}', "byte 8 is not UTF-8"),
        (b"[1]", "must be a JSON object"),
        (b'{"a": 1', "not JSON"),
        (b'{"a": 1, "a": 2}', "key 'a' occurs twice"),
        (b"[" * 100_000, "not JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not JSON"),
    ],
)
def test_bad_line_is_refused_with_file_and_line(tmp_path: Path, line: bytes, reason: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"{}\n" + line + b"\n")
    with pytest.raises(InvalidData, match=f"a.jsonl, line 2: .*{reason}"):
        list(read_objects(path))


def test_gzip_is_read_and_written_with_the_same_bytes_each_time(tmp_path: Path) -> None:
    first, second = tmp_path / "1.jsonl.gz", tmp_path / "2.jsonl.gz"
    for path in (first, second):
        write_objects(path, [{"a": "ü"}, {"a": "🙂"}])
    assert first.read_bytes() == second.read_bytes()
    assert first.read_bytes()[4:8] == bytes(4), "a time of writing would change the bytes"
    assert gzip.decompress(first.read_bytes()).decode() == '{"a": "ü"}\n{"a": "🙂"}\n'
    assert [table for _, table in read_objects(first)] == [{"a": "ü"}, {"a": "🙂"}]


@pytest.mark.parametrize("damage", ["cut", "plain", "flipped"])
def test_damaged_gzip_is_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "a.jsonl.gz"
    whole = gzip.compress(b"".join(b'{"a": %d}\n' % at for at in range(5000)))
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes(byte ^ 255 for byte in whole[middle:])
    path.write_bytes({"cut": whole[:middle], "plain": b"{}\n", "flipped": flipped}[damage])
    with pytest.raises(InvalidData, match=r"a\.jsonl\.gz"):
        list(read_objects(path))


def test_missing_file_and_folder_are_refused_by_name(tmp_path: Path) -> None:
    for path in (tmp_path / "none.jsonl", tmp_path):
        with pytest.raises(InvalidData, match="cannot be read") as caught:
            list(read_objects(path))
        assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_half_a_surrogate_pair_is_not_written_and_the_old_file_stays(
    tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    write_objects(path, [{"a": 1}])
    with pytest.raises(InvalidData, match="line 2: .*surrogate"):
        write_objects(path, [{"a": 2}, {"a": "\ud800"}])
    assert [table for _, table in read_objects(path)] == [{"a": 1}]
    assert list(tmp_path.iterdir()) == [path]
