"""Whatever a kill leaves of the file, every whole answer is there, and every cost is counted."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from descant.distillation.answer_store import AnswerStore, key_of
from descant.distillation.budget import Cost
from descant.distillation.teacher import Opinion
from descant.schema.errors import InvalidConfig, InvalidData, StorageFull

SOFT = Opinion("yes", {"no": 0.25, "yes": 0.75})
HARD = Opinion("no")
NONSENSE = Opinion(None, unanswered="The answer 'né\ud83d' is not one of the labels.")
MOST = Cost(100, 10, Decimal("0.01"))
USED = Cost(30, 2, Decimal("0.003"))


def fill(path: Path) -> None:
    with AnswerStore(path) as store:
        for at, opinion in enumerate((SOFT, HARD, NONSENSE)):
            store.open(f"key-{at}", MOST)
            store.close(f"key-{at}", USED, {"polite": opinion})


def test_what_was_answered_is_there_again(tmp_path: Path) -> None:
    path = tmp_path / "new" / "answers.jsonl"
    fill(path)
    with AnswerStore(path) as store:
        assert store.opinions("key-0") == {"polite": SOFT}
        assert store.opinions("key-1") == {"polite": HARD}
        assert store.opinions("key-2") == {"polite": NONSENSE}
        assert store.opinions("key-3") is None
        assert store.spent == USED + USED + USED


def test_a_request_that_never_ended_counts_with_the_most_it_can_have_taken(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    with AnswerStore(path) as store:
        store.open("key-0", MOST)
        assert store.spent == MOST
    with AnswerStore(path) as store:
        assert store.spent == MOST
        store.open("key-0", MOST)
        assert store.spent == MOST + MOST
        store.close("key-0", USED, {"polite": HARD})
        assert store.spent == MOST + USED
    with AnswerStore(path) as store:
        assert store.spent == MOST + USED


def test_a_request_that_brought_nothing_is_paid_for_and_not_answered(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    with AnswerStore(path) as store:
        store.open("key-0", MOST)
        store.close("key-0", MOST)
    with AnswerStore(path) as store:
        assert store.spent == MOST
        assert store.opinions("key-0") is None


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_a_file_cut_anywhere_is_whole_again_up_to_there(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "answers.jsonl"
        fill(path)
        content = path.read_bytes()
        cut = content[: data.draw(st.integers(0, len(content)))]
        path.write_bytes(cut)
        whole = cut[: cut.rfind(b"\n") + 1]
        with AnswerStore(path) as store:
            assert path.read_bytes() == whole
            lines = [json.loads(line) for line in whole.splitlines()]
            answered = [line["closed"] for line in lines if "closed" in line]
            for at in range(3):
                assert (store.opinions(f"key-{at}") is not None) == (f"key-{at}" in answered)
            opened = sum("opened" in line for line in lines)
            expected = [USED] * len(answered) + [MOST] * (opened - len(answered))
            assert store.spent == sum(expected, Cost())
            store.open("more", MOST)
            store.close("more", USED, {"polite": HARD})
        with AnswerStore(path) as store:
            assert store.opinions("more") == {"polite": HARD}


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ('{"id": "1", "turns": []}\n', 1),
        ('{"id": "1", "turns": []}', 1),
        ('{"opened": "k", "read": 1, "written": 2, "money": "0"}\nno JSON\n', 2),
        ('{"opened": "k", "read": 1, "written": 2, "money": "much"}\n', 1),
        ('{"closed": "k", "read": 1, "written": 2, "money": "0", "opinions": [1]}\n', 1),
        ("[]\n", 1),
        ("\n", 1),
    ],
)
def test_a_file_of_someone_else_is_refused_and_left_alone(
    tmp_path: Path, content: str, line: int
) -> None:
    path = tmp_path / "calls.jsonl"
    path.write_text(content)
    with pytest.raises(InvalidData, match=f"line {line}: is no line"):
        AnswerStore(path)
    assert path.read_text() == content
    path.write_text("")
    with AnswerStore(path):
        pass


def test_a_second_process_is_kept_out(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    with AnswerStore(path), pytest.raises(InvalidConfig, match="Another process"):
        AnswerStore(path)
    with AnswerStore(path):
        pass


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidConfig, match="Cannot write to .*file"):
        AnswerStore(tmp_path / "file" / "answers.jsonl")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InvalidConfig, match="Cannot write to .*folder"):
        AnswerStore(tmp_path / "folder")


def test_a_full_disk_keeps_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "answers.jsonl"
    fill(path)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with AnswerStore(path) as store:
        store.open("key-3", MOST)
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(StorageFull, match="took no further answer"):
            store.close("key-3", USED, {"polite": HARD})
        monkeypatch.undo()
        assert store.opinions("key-3") is None
        assert store.spent == USED + USED + USED + MOST
    with AnswerStore(path) as store:
        assert store.opinions("key-3") is None
        assert store.spent == USED + USED + USED + MOST


def test_a_key_is_the_content_in_any_order() -> None:
    assert key_of({"a": 1, "b": [2]}) == key_of({"b": [2], "a": 1})
    assert key_of({"a": 1, "b": [2]}) != key_of({"a": 1, "b": [3]})
