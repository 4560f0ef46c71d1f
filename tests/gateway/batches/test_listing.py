"""One tenant's part of a list that all share, and lines that come in pieces."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from descant.gateway.batches.line_splitter import LineSplitter
from descant.gateway.batches.listing import MOST_PAGES, find

pytestmark = pytest.mark.anyio


def pages(cards: list[dict[str, Any]], size: int, asked: list[str | None]) -> Any:
    async def fetch(after: str | None) -> dict[str, Any]:
        asked.append(after)
        ids = [card["id"] for card in cards]
        start = 0 if after is None else ids.index(after) + 1
        return {
            "data": cards[start : start + size],
            "has_more": start + size < len(cards),
        }

    return fetch


@given(
    st.lists(st.sampled_from("ab"), max_size=30),
    st.integers(1, 7),
    st.integers(1, 10),
)
async def test_it_is_what_a_whole_look_finds(owners: list[str], size: int, limit: int) -> None:
    cards = [{"id": f"i{n}", "owner": owner} for n, owner in enumerate(owners)]
    own = [card for card in cards if card["owner"] == "a"]
    fetch = pages(cards, size, [])
    after, seen = None, []
    while True:
        found = await find(fetch, lambda card: card["owner"] == "a", after, limit)
        seen += found.cards
        assert found.has_more == (len(seen) < len(own))
        if not found.has_more:
            break
        assert len(found.cards) == limit
        after = found.cards[-1]["id"]
    assert seen == own


async def test_a_server_that_knows_no_pages_is_not_asked_for_ever() -> None:
    asked: list[str | None] = []

    async def fetch(after: str | None) -> dict[str, Any]:
        asked.append(after)
        return {"data": [{"id": "one"}], "has_more": True}

    found = await find(fetch, lambda _: False, None, 5)
    assert (asked, found.has_more) == ([None, "one"], False)


async def test_a_very_long_list_says_that_it_goes_on() -> None:
    asked: list[str | None] = []
    cards = [{"id": f"i{n}"} for n in range(MOST_PAGES + 5)]
    found = await find(pages(cards, 1, asked), lambda _: False, None, 5)
    assert (len(asked), found.cards, found.has_more) == (MOST_PAGES, [], True)


@given(st.lists(st.binary(max_size=20).map(lambda data: data.replace(b"x", b"\n"))))
def test_lines_are_those_of_the_whole(pieces: list[bytes]) -> None:
    splitter = LineSplitter(10_000)
    lines = [line for piece in pieces for line in splitter.feed(piece)] + splitter.end()
    whole = b"".join(pieces).split(b"\n")
    assert lines == (whole if whole[-1] else whole[:-1])
