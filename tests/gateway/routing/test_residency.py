from __future__ import annotations

from collections import OrderedDict

from hypothesis import given
from hypothesis import strategies as st

from descant.gateway.routing.metrics_text import Figures
from descant.gateway.routing.residency import ACTIVE, FREE_SLOT, FULL, LOADING, Residency


def residency_of(slots: int | None) -> Residency:
    residency = Residency()
    residency.watch("u", slots)
    return residency


def test_the_four_scores() -> None:
    residency = residency_of(2)
    assert residency.score("u", "a") == FREE_SLOT
    residency.sent("u", "a")
    assert residency.score("u", "a") == LOADING
    residency.answered("u", "a")
    assert residency.score("u", "a") == ACTIVE
    residency.sent("u", "b")
    assert residency.score("u", "c") == FULL
    residency.sent("u", "c")
    assert residency.score("u", "a") == FULL


@given(st.lists(st.sampled_from("abcdef"), max_size=60), st.integers(1, 4))
def test_the_adapters_asked_for_last_are_held(sent: list[str], slots: int) -> None:
    residency = residency_of(slots)
    held: OrderedDict[str, None] = OrderedDict()
    for adapter in sent:
        residency.sent("u", adapter)
        held[adapter] = None
        held.move_to_end(adapter)
        while len(held) > slots:
            held.popitem(last=False)
        for each in "abcdef":
            assert (residency.score("u", each) == LOADING) is (each in held)


def test_polls_add_what_others_use() -> None:
    residency = residency_of(None)
    assert residency.score("u", "a") == ACTIVE
    residency.take(
        "u",
        Figures(
            adapter_slots=2,
            active_adapters=frozenset({"a"}),
            loading_adapters=frozenset({"b"}),
            base_models=frozenset({"base"}),
        ),
    )
    assert [residency.score("u", name) for name in ("a", "b", "c")] == [ACTIVE, LOADING, FULL]
    assert residency.score("u", "base") == ACTIVE
    assert not residency.has_slots("u", "base")


def test_the_base_model_takes_no_slot() -> None:
    residency = residency_of(1)
    residency.take("u", Figures(base_models=frozenset({"base"})))
    residency.sent("u", "a")
    residency.sent("u", "base")
    assert residency.score("u", "a") == LOADING


def test_configured_slots_go_before_polled_ones() -> None:
    residency = residency_of(1)
    residency.take("u", Figures(adapter_slots=8))
    residency.sent("u", "a")
    assert residency.score("u", "b") == FULL


def test_new_settings_keep_what_is_held() -> None:
    residency = residency_of(3)
    for adapter in "abc":
        residency.sent("u", adapter)
    residency.watch("u", 2)
    assert [residency.score("u", name) for name in "abc"] == [FULL, LOADING, LOADING]
    residency.keep([])
    residency.sent("u", "a")
    residency.answered("u", "a")
    residency.take("u", Figures())
    residency.watch("u", 2)
    assert residency.score("u", "c") == FREE_SLOT


def test_without_slots_nothing_is_remembered() -> None:
    residency = residency_of(None)
    for number in range(1000):
        residency.sent("u", f"made-up-{number}")
    assert residency._slots["u"].adapters == {}
