"""One page of a list, as OpenAI's API cuts lists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from descant.schema.errors import InputError


def page(cards: Sequence[dict[str, Any]], after: str | None, limit: int) -> dict[str, Any]:
    """Return at most `limit` cards that come after the one whose id is `after`.

    Raises:
        InputError: no card has that id.
    """
    rest = list(cards) if after is None else _behind(cards, after)
    chosen = rest[:limit]
    return {
        "object": "list",
        "data": chosen,
        "first_id": chosen[0]["id"] if chosen else None,
        "last_id": chosen[-1]["id"] if chosen else None,
        "has_more": len(rest) > limit,
    }


def _behind(cards: Sequence[dict[str, Any]], after: str) -> list[dict[str, Any]]:
    for index, card in enumerate(cards):
        if card["id"] == after:
            return list(cards[index + 1 :])
    raise InputError(f"Nothing in this list has the id {after!r}.", field="after")
