"""One tenant's part of a list that all tenants share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from descant.gateway.dialects.document import list_in, text_in

MOST_PAGES = 50
"""Of the upstream's list; a list that is longer says that it goes on."""

Fetch = Callable[[str | None], Awaitable[dict[str, Any]]]
"""The id a page comes after → the upstream's page."""


@dataclass(frozen=True)
class Found:
    """Cards of one tenant, as the upstream has them."""

    cards: list[dict[str, Any]]
    has_more: bool


async def find(
    fetch: Fetch, is_wanted: Callable[[dict[str, Any]], bool], after: str | None, limit: int
) -> Found:
    """Read the upstream's list until there are `limit` wanted cards, and one more that is left."""
    found: list[dict[str, Any]] = []
    for _ in range(MOST_PAGES):
        page = await fetch(after)
        cards = [card for card in list_in(page, "data") if isinstance(card, dict)]
        for card in filter(is_wanted, cards):
            if len(found) == limit:
                return Found(found, True)
            found.append(card)
        last = text_in(cards[-1], "id") if cards else ""
        # Who does not know `after` answers the first page for ever.
        if page.get("has_more") is not True or not last or last == after:
            return Found(found, False)
        after = last
    return Found(found, True)


def list_object(cards: list[dict[str, Any]], has_more: bool) -> dict[str, Any]:
    """Return a list as OpenAI's API writes it."""
    return {
        "object": "list",
        "data": cards,
        "first_id": cards[0]["id"] if cards else None,
        "last_id": cards[-1]["id"] if cards else None,
        "has_more": has_more,
    }
