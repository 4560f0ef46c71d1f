"""What Anthropic's answers say of themselves, in OpenAI's words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from descant.gateway.call import Usage
from descant.gateway.dialects.document import count_in

FINISH_REASONS: Mapping[str, str] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


def message_usage(usage: dict[str, Any]) -> Usage | None:
    """Return the tokens: OpenAI's prompt includes what was read from, or written to, a cache."""
    fresh = count_in(usage, "input_tokens")
    written = count_in(usage, "output_tokens")
    if fresh is None or written is None:
        return None
    read = count_in(usage, "cache_read_input_tokens") or 0
    stored = count_in(usage, "cache_creation_input_tokens") or 0
    return Usage(fresh + stored + read, written, read)
