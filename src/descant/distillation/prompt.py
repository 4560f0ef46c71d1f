"""How a teacher is asked: the conversation first, then the question and its labels.

What all questions about a conversation share stands in front, so that a teacher with a prefix cache
reads it once.
"""

from __future__ import annotations

from typing import Any

from descant.schema import Indicator, Transcript

_SYSTEM = (
    "You judge conversations. You are given one conversation, a question about it and the labels "
    "that may answer it. Answer with exactly one of the labels, written as it is given, and nothing "
    "else."
)


def build_messages(transcript: Transcript, indicator: Indicator) -> list[dict[str, str]]:
    """Return the chat that asks one question about a conversation."""
    order = ", from lowest to highest" if indicator.kind == "ordinal" else ""
    lines = [
        "Conversation:",
        *(f"{_line(turn.speaker) or 'unknown'}: {_line(turn.text)}" for turn in transcript.turns),
        "",
        f"Question: {_line(indicator.question)}",
        f"Labels, one a line{order}:",
        *indicator.labels,
    ]
    return [
        {"role": "system", "content": _SYSTEM},
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


def _line(text: str) -> str:
    """Return a text as one line, so that none can pass for another turn or for the question."""
    return " ".join(text.split())
