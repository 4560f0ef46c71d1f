"""The tokens of an answer, read from what OpenAI's dialects say of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from descant.gateway.call import Usage
from descant.gateway.dialects.document import count_in, object_in


def read_usage(document: dict[str, Any]) -> Usage | None:
    """Return the usage of an answer or chunk; None where there is none, or one that cannot be."""
    usage = object_in(document, "usage")
    if "tokens_read" in usage:
        return _scores_usage(usage)
    prompt = count_in(usage, "prompt_tokens")
    completion = count_in(usage, "completion_tokens")
    if prompt is None or (completion is None and "completion_tokens" in usage):
        return None
    cached = count_in(object_in(usage, "prompt_tokens_details"), "cached_tokens") or 0
    return Usage(prompt, completion or 0, min(cached, prompt))


def usage_object(usage: Usage) -> Mapping[str, Any]:
    """Return the usage as OpenAI writes it."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }


def _scores_usage(usage: dict[str, Any]) -> Usage | None:
    """Return a scorecard's: what was shared counts as read from a cache."""
    read, shared = count_in(usage, "tokens_read"), count_in(usage, "tokens_shared")
    if read is None or shared is None:
        return None
    return Usage(read + shared, 0, shared)
