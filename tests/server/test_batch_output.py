from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import descant
from descant.schema.errors import StorageFull
from descant.server.batches.batch_output import BatchOutput, LineFile
from descant.server.batches.batch_store import BatchStore
from descant.server.batches.file_store import FileStore
from descant.server.keys import ANYONE
from tests.server.batch_app import SCORES, jsonl, request_line

ROOT = Path(__file__).parent.parent.parent


def ids_in(path: Path) -> list[str]:
    return [json.loads(line)["custom_id"] for line in path.read_bytes().splitlines()]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.text(min_size=1), unique=True, max_size=6),
    st.integers(min_value=0, max_value=400),
    st.binary(max_size=20),
)
def test_whatever_is_torn_whole_lines_stay_and_none_is_twice(
    custom_ids: list[str], cut: int, rubbish: bytes
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lines"
        file = LineFile(path)
        for custom_id in custom_ids:
            file.append([{"custom_id": custom_id}])
        file.close()
        whole = path.read_bytes()
        path.write_bytes(whole[:cut] + rubbish)
        file = LineFile(path)
        kept = set(file.custom_ids)
        file.append({"custom_id": custom_id} for custom_id in custom_ids if custom_id not in kept)
        file.close()
        found = ids_in(path)
        assert Counter(custom_ids) <= Counter(found)
        assert max(Counter(found).values(), default=1) == 1
        assert whole[:cut].count(b"\n") <= len(kept)


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_full_disk_leaves_no_part_of_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    write = os.write

    def full(descriptor: int, data: bytes = b"") -> None:
        if call == "write":
            write(descriptor, data[:3])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with BatchOutput(tmp_path) as output:
        output.add_response("a", 200, {})
        with monkeypatch.context() as patch:
            patch.setattr(os, call, full)
            with pytest.raises(StorageFull):
                output.add_response("b", 200, {})
        assert (output.has("a"), output.has("b")) == (True, False)
        output.add_response("c", 200, {})
    assert ids_in(tmp_path / "output" / "content") == ["a", "c"]


def run_process(folder: Path, lines: int) -> int:
    source = Path(descant.__file__).parent.parent
    return subprocess.run(
        [sys.executable, "-m", "tests.server.batch_process", str(folder), str(lines)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(source), str(ROOT)])},
        timeout=60,
        check=False,
    ).returncode


def test_killed_again_and_again_a_batch_answers_every_line_once(tmp_path: Path) -> None:
    files, batches = FileStore(tmp_path / "files"), BatchStore(tmp_path / "batches")
    with files.draft() as draft:
        draft.write(jsonl(*map(request_line, range(60))))
        draft.sync()
        file = files.publish(draft.folder, tenant="", filename="a", purpose="batch")
    batch_id = batches.create(ANYONE, SCORES, file.id, 86_400, None).id
    for lines in (0, 13, 25):
        assert run_process(tmp_path, lines) == -signal.SIGKILL
    # What a power cut would add to that.
    with (tmp_path / "batches" / batch_id / "output" / "content").open("ab") as torn:
        torn.write(b'{"id": "batch_req_1", "custom_id": "r59", "resp')
    assert run_process(tmp_path, 1000) == 0
    batch = BatchStore(tmp_path / "batches").get(batch_id)
    assert (batch.status, batch.completed, batch.failed) == ("completed", 60, 0)
    assert batch.output_file_id is not None
    content = FileStore(tmp_path / "files").content(batch.output_file_id)
    assert sorted(ids_in(content)) == sorted(f"r{number}" for number in range(60))
