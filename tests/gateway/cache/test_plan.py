from __future__ import annotations

from math import inf
from typing import Any

import pytest

from descant.gateway.cache import CachePolicy, CacheWish, Identity, plan_cache, read_cache_control
from descant.gateway.cache.plan import is_repeatable
from descant.gateway.call import Operation
from tests.gateway.cache.calls import call, chat

POLICY = CachePolicy(ttl_s=60)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"temperature": 0}, True),
        ({"temperature": 0.0}, True),
        ({"temperature": 1, "seed": 7}, True),
        ({"seed": 0}, True),
        ({}, False),
        ({"temperature": 0.1}, False),
        ({"temperature": False}, False),
        ({"temperature": None}, False),
        ({"seed": None}, False),
        ({"seed": True}, False),
        ({"seed": "7"}, False),
    ],
)
def test_only_what_would_be_answered_the_same_is_repeated(
    body: dict[str, Any], expected: bool
) -> None:
    assert is_repeatable(call(body), POLICY) == expected
    assert is_repeatable(call(body), CachePolicy(60, sampled=True))


@pytest.mark.parametrize("operation", ["embeddings", "scores"])
def test_embeddings_and_scores_are_always_repeatable(operation: Operation) -> None:
    assert is_repeatable(call({}, operation=operation), POLICY)


@pytest.mark.parametrize(
    ("header", "wish"),
    [
        (None, CacheWish()),
        ("", CacheWish()),
        ("no-store", CacheWish(no_store=True)),
        ("No-Cache, max-age=30", CacheWish(no_cache=True, most_age_s=30)),
        ("max-age=60,max-age=5", CacheWish(most_age_s=5)),
        ("max-age=-1, max-age=x, private", CacheWish(most_age_s=inf)),
    ],
)
def test_cache_control(header: str | None, wish: CacheWish) -> None:
    assert read_cache_control(header) == wish


def plan(policy: CachePolicy = POLICY, wish: CacheWish | None = None, **fields: Any) -> Any:
    return plan_cache(chat(**fields), Identity(), policy, wish or CacheWish())


def test_no_store_stays_away_from_caches() -> None:
    assert plan(wish=CacheWish(no_store=True)) is None


def test_no_cache_asks_anew_by_itself_and_keeps_the_new_answer() -> None:
    planned = plan(wish=CacheWish(no_cache=True))
    assert (planned.may_read, planned.may_share, planned.may_store) == (False, False, True)


def test_a_route_without_a_cache_still_shares_what_is_under_way() -> None:
    planned = plan(CachePolicy(ttl_s=0))
    assert (planned.may_read, planned.may_share, planned.may_store) == (False, True, False)


def test_a_stream_and_a_whole_answer_share_an_entry_but_not_a_flight() -> None:
    whole, stream = plan(), plan(stream=True)
    assert whole.key == stream.key
    assert whole.flight != stream.flight
    assert stream.flight != plan(stream=True, stream_options={"include_usage": True}).flight


@pytest.mark.parametrize("options", [{"continuous_usage_stats": True}, "all", [1]])
def test_a_stream_that_cannot_be_replayed_as_asked_is_not_cached(options: Any) -> None:
    assert plan(stream=True, stream_options=options) is None


def test_a_sampled_answer_is_not_cached() -> None:
    assert plan(temperature=0.7) is None
    assert plan(CachePolicy(60, sampled=True), temperature=0.7) is not None
