"""Reads chats in OpenAI's form: JSON lines as for fine-tuning, or JSON with lists of messages.

Format: https://platform.openai.com/docs/api-reference/fine-tuning/chat-input. A conversation is an
object with ``messages``, or the bare list. ``user`` and ``assistant`` speak; instructions (``system``,
``developer``), calls of tools and their answers are not said to anybody and are left out. Parts of a
message that are no text are refused by name.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from descant.configuration import did_you_mean
from descant.data.importers.records import Record, read_records
from descant.data.importers.source_file import NOTHING_SAID, OnSkip
from descant.data.json_table import JsonTable
from descant.data.transcripts import build_transcript
from descant.schema import LabelledTranscript, Turn
from descant.schema.errors import InvalidData, WrongFormat

_SPEAKERS = ("user", "assistant")
_UNHEARD = ("system", "developer", "tool", "function")


def read_openai_chat(
    path: Path, file_id: str, on_skip: OnSkip = lambda *_: None
) -> Iterator[LabelledTranscript]:
    """Yield the conversations of a file, with their own ids or ones such as ``chats-3``.

    Raises:
        WrongFormat: a conversation has no messages.
        InvalidData: a message is malformed, or holds something that is not text; names its path.
    """
    for record in _conversations(path):
        table = _conversation(record)
        transcript_id = table.text("id") if table.has("id") else f"{file_id}-{record.number}"
        turns = [turn for message in table.tables("messages") for turn in _turns(message)]
        if any(turn.text.strip() for turn in turns):
            yield LabelledTranscript(build_transcript(transcript_id, turns, record.origin))
        else:
            on_skip(transcript_id, NOTHING_SAID)


def _conversations(path: Path) -> Iterator[Record]:
    records = read_records(path)
    first = next(records, None)
    if first is None:
        return
    if isinstance(first.value, dict) and "role" in first.value:
        # The whole document is the list of messages of one conversation.
        yield Record(str(path), 1, [first.value, *(record.value for record in records)])
    else:
        yield from chain([first], records)


def _conversation(record: Record) -> JsonTable:
    value = {"messages": record.value} if isinstance(record.value, list) else record.value
    if not isinstance(value, dict) or "messages" not in value:
        raise WrongFormat(f"{record.origin}: has no messages.", field="format")
    return JsonTable(value, record.origin)


def _turns(message: JsonTable) -> Iterator[Turn]:
    role = message.text("role")
    if role in _SPEAKERS:
        # An assistant that only calls a tool says nothing.
        text = _text(message, "content") or _text(message, "refusal")
        if text:
            yield Turn(role, text)
    elif role not in _UNHEARD:
        error = message.error("role", f"{role!r} is none of OpenAI's")
        known = (*_SPEAKERS, *_UNHEARD)
        raise InvalidData(
            error.message,
            field=error.field,
            remedy=f"{did_you_mean(role, known)} Roles: {', '.join(known)}.".strip(),
        )


def _text(message: JsonTable, key: str) -> str:
    if not message.has(key):
        return ""
    if not isinstance(message.fields[key], list):
        return message.text(key)
    return "\n".join(map(_part_text, message.tables(key)))


def _part_text(part: JsonTable) -> str:
    kind: Any = part.text("type")
    if kind not in ("text", "refusal"):
        raise part.error("type", f"{kind} cannot be read, only text")
    return part.text(kind)
