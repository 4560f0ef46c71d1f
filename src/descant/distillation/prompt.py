"""How a teacher is asked: the conversation first, then the question and its labels.

What all questions about a conversation share stands in front, so that a teacher with a prefix cache
reads it once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from descant.schema import Indicator, Transcript, Turn

_SYSTEM = (
    "You judge conversations. You are given one conversation, a question about it and the labels "
    "that may answer it. Answer with exactly one of the labels, written as it is given, and nothing "
    "else."
)


_TEXT_SYSTEM = (
    "You judge conversations. You are given one conversation and a question about it. Answer in a few "
    "words, on one line, and say nothing else."
)


def build_messages(transcript: Transcript, indicator: Indicator) -> list[dict[str, str]]:
    """Return the chat that asks one question about a conversation."""
    lines = [
        "Conversation:",
        *conversation_lines(transcript.turns),
        "",
        f"Question: {one_line(indicator.question)}",
    ]
    if indicator.is_text:
        return chat_of(_TEXT_SYSTEM, lines)
    order = ", from lowest to highest" if indicator.kind == "ordinal" else ""
    return chat_of(_SYSTEM, [*lines, f"Labels, one a line{order}:", *indicator.labels])


def conversation_lines(turns: Sequence[Turn]) -> list[str]:
    """Return a conversation, a turn a line."""
    return [f"{one_line(turn.speaker) or 'unknown'}: {one_line(turn.text)}" for turn in turns]


def chat_of(system: str, lines: Sequence[str]) -> list[dict[str, str]]:
    """Return a chat of a rule and what it is to be applied to."""
    return [
        {"role": "system", "content": system},
        {"role": "user", "content": "\n".join(lines)},
    ]


def schema_form(labels: tuple[str, ...]) -> dict[str, Any]:
    """Return the field that holds an answer to ``{"label": …}``, as OpenAI's API names it."""
    schema = {
        "type": "object",
        "properties": {"label": {"type": "string", "enum": list(labels)}},
        "required": ["label"],
        "additionalProperties": False,
    }
    form = {"name": "answer", "schema": schema, "strict": True}
    return {"response_format": {"type": "json_schema", "json_schema": form}}


def choice_form(labels: tuple[str, ...]) -> dict[str, Any]:
    """Return the field that holds an answer to the labels themselves, as vLLM names it."""
    return {"structured_outputs": {"choice": list(labels)}}


def free_form(labels: tuple[str, ...]) -> dict[str, Any]:
    """Return nothing: the prompt alone asks for one of the labels."""
    return {}


def one_line(text: str) -> str:
    """Return a text as one line, so that none can pass for another turn or for the question."""
    return " ".join(text.split())
