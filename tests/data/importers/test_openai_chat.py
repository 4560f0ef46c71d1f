"""Chats as in platform.openai.com/docs/api-reference/fine-tuning/chat-input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from descant.data.importers.openai_chat import read_openai_chat
from descant.schema import LabelledTranscript, Turn
from descant.schema.errors import InvalidData, WrongFormat

USER = {"role": "user", "content": "My card is gone."}
ANSWER = {"role": "assistant", "content": "I am sorry.", "weight": 1}
CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
}


def read(folder: Path, *values: Any, name: str = "a.jsonl") -> list[LabelledTranscript]:
    path = folder / name
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
    return list(read_openai_chat(path, "a"))


def test_only_user_and_assistant_speak(tmp_path: Path) -> None:
    messages = [
        {"role": "system", "content": "SECRET"},
        {"role": "developer", "content": "SECRET"},
        USER,
        CALL,
        {"role": "tool", "tool_call_id": "1", "content": "SECRET"},
        {"role": "function", "name": "f", "content": "SECRET"},
        ANSWER,
        {"role": "assistant", "refusal": "I can't do that."},
    ]
    (row,) = read(tmp_path, {"messages": messages, "tools": [], "parallel_tool_calls": False})
    assert row.transcript.id == "a-1"
    assert row.transcript.turns == (
        Turn("user", "My card is gone."),
        Turn("assistant", "I am sorry."),
        Turn("assistant", "I can't do that."),
    )


def test_parts_of_text_are_lines(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "One"}, {"type": "refusal", "refusal": "two"}]
    (row,) = read(tmp_path, {"id": "c7", "messages": [{"role": "assistant", "content": parts}]})
    assert row.transcript.id == "c7"
    assert row.transcript.turns == (Turn("assistant", "One\ntwo"),)


@pytest.mark.parametrize(
    ("name", "values", "ids"),
    [
        ("a.jsonl", [[USER, ANSWER], {"messages": [USER]}], ["a-1", "a-2"]),
        ("a.json", [{"messages": [USER]}], ["a-1"]),
        ("a.json", [{"messages": [USER]}, {"messages": [USER]}], ["a-1", "a-2"]),
        ("a.json", [[{"messages": [USER]}, [ANSWER]]], ["a-1", "a-2"]),
        ("a.json", [[USER, ANSWER]], ["a-1"]),
        ("a.jsonl", [], []),
    ],
)
def test_lines_lists_and_single_documents(
    tmp_path: Path, name: str, values: list[Any], ids: list[str]
) -> None:
    assert [row.transcript.id for row in read(tmp_path, *values, name=name)] == ids


def test_chats_in_which_nothing_is_said_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps([CALL]) + "\n" + json.dumps([USER]) + "\n")
    skipped: dict[str, str] = {}
    rows = list(read_openai_chat(path, "a", skipped.__setitem__))
    assert [row.transcript.id for row in rows] == ["a-2"]
    assert skipped == {"a-1": "nothing was said"}


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]},
            r"messages\[1\].content\[0\].type: image_url cannot be read, only text",
        ),
        ({"role": "usr", "content": "x"}, r"messages\[1\].role: 'usr' .* Did you mean 'user'\?"),
        ({"content": "x"}, r"messages\[1\].role: is missing"),
        ({"role": "user", "content": 7}, r"messages\[1\].content: must be a text"),
        ({"role": "user", "content": [{"type": "text"}]}, r".*content\[0\].text: is missing"),
        ("x", r"messages\[1\]: must be an object"),
    ],
)
def test_a_bad_message_is_refused_by_line_and_path(
    tmp_path: Path, message: Any, reason: str
) -> None:
    with pytest.raises(InvalidData, match=rf"a\.jsonl, line 2, {reason}"):
        read(tmp_path, [USER], {"messages": [USER, message]})


@pytest.mark.parametrize("value", [{"prompt": "x"}, "x", 7])
def test_lines_without_messages_are_refused(tmp_path: Path, value: Any) -> None:
    with pytest.raises(WrongFormat, match=r"a\.jsonl, line 1: has no messages"):
        read(tmp_path, value)
