from __future__ import annotations

from collections import Counter
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from descant.gateway.call import Usage
from descant.gateway.config import GatewayConfig, Order, RouteConfig
from descant.gateway.routing import Candidate, Figures, Memory, Router
from descant.gateway.routing.affinity import bound
from descant.gateway.routing.load_view import STALE_S
from descant.schema.errors import ContextTooLong, ModelNotFound, TooBusy
from tests.gateway.routing.calls import Clock, call, names, router_of, upstream

LONG = "x" * 6000


def send(router: Router, number: int, **fields: Any) -> Candidate:
    """Send a call where it should go first."""
    asked = call(number, **fields)
    candidate = router.candidates(asked)[0]
    router.sent(candidate, asked)
    return candidate


@given(
    st.sampled_from(get_args(Order)),
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30)), min_size=1, max_size=6),
)
def test_all_that_can_answer_are_listed_by_priority_whatever_their_load(
    order: Order, upstreams: list[tuple[int, int]]
) -> None:
    configs = {f"u{n}": upstream(priority=pair[0]) for n, pair in enumerate(upstreams)}
    router = router_of(configs, order=order)
    for n, (_, in_flight) in enumerate(upstreams):
        for number in range(in_flight):
            router.memory.view.sent(f"u{n}", call(number))
    candidates = router.candidates(call(99))
    assert {candidate.upstream for candidate in candidates} == set(configs)
    priorities = [candidate.priority for candidate in candidates]
    assert priorities == sorted(priorities)
    assert all(each.priority == configs[each.upstream].priority for each in candidates)


def test_an_upstream_is_told_the_name_it_knows() -> None:
    router = router_of({"own": upstream(), "hosted": upstream(names={"polite": "gpt-5-mini"})})
    models = {each.upstream: each.model for each in router.candidates(call())}
    assert models == {"own": "polite", "hosted": "gpt-5-mini"}


def test_who_does_not_serve_a_model_is_not_asked() -> None:
    router = router_of(
        {"a": upstream(models=("refund-*", "hold")), "b": upstream(models=("hold",))}
    )
    assert names(router, call(model="refund-1")) == ["a"]
    assert set(names(router, call(model="hold"))) == {"a", "b"}
    with pytest.raises(ModelNotFound, match="No upstream serves 'polite'"):
        router.candidates(call())


def test_long_requests_go_where_they_fit() -> None:
    router = router_of(
        {"a": upstream(max_context_tokens=500), "b": upstream(max_context_tokens=900)}
    )
    assert set(names(router, call(max_tokens=400))) == {"a", "b"}
    assert names(router, call(max_tokens=401)) == ["b"]
    with pytest.raises(ContextTooLong, match="1,000 tokens; 900 is the most"):
        router.candidates(call(max_tokens=900))


def test_who_is_closed_is_not_asked() -> None:
    clock = Clock(23 * 3600)
    router = router_of({"night": upstream(hours="22-06"), "day": upstream(hours="08-17")}, clock)
    assert names(router, call()) == ["night"]
    clock.now_s = 9 * 3600
    assert names(router, call()) == ["day"]
    clock.now_s = 18 * 3600
    with pytest.raises(TooBusy) as refused:
        router.candidates(call())
    assert refused.value.remedy == "Ask again in 14400 seconds."
    assert refused.value.wait_s == 14400


def test_an_unknown_model_has_no_candidates() -> None:
    config = GatewayConfig({"a": upstream()}, {"polite": RouteConfig(("a",))})
    with pytest.raises(ModelNotFound):
        Router(config, Memory(Clock()), Clock()).candidates(call(model="rude"))


def test_by_load_the_idle_one_is_first() -> None:
    router = router_of({"a": upstream(), "b": upstream()})
    for number in range(20):
        router.memory.view.sent("a", call(number))
    assert names(router, call(99)) == ["b", "a"]


@given(st.lists(st.booleans(), min_size=1, max_size=150), st.integers(2, 5))
def test_by_load_nobody_is_sent_more_than_the_bound(same: list[bool], upstreams: int) -> None:
    """However alike the calls are: all may have read the same, and be asked for one adapter."""
    router = router_of({f"u{n}": upstream(adapter_slots=1) for n in range(upstreams)})
    for number, is_same in enumerate(same):
        candidate = send(router, number, text=LONG if is_same else f"{number} {LONG}")
        in_flight = router.memory.view.in_flight(candidate.upstream)
        assert in_flight <= bound(number, 1 / upstreams)


def test_by_load_a_stronger_upstream_takes_more() -> None:
    router = router_of({"a": upstream(weight=3.0), "b": upstream()})
    taken = Counter(send(router, number, text=f"q{number}").upstream for number in range(200))
    assert 135 <= taken["a"] <= 165


def test_by_load_the_own_limit_of_an_upstream_is_a_bound_too() -> None:
    router = router_of({"a": upstream(concurrency=2), "b": upstream()})
    taken = Counter(send(router, number, text=LONG).upstream for number in range(40))
    assert taken["a"] <= 2


def test_a_conversation_goes_on_where_it_was_read() -> None:
    router = router_of({name: upstream() for name in "abcd"})
    for number in range(20):
        text = f"{number} {LONG}"
        first = send(router, number, text=text)
        router.done(first, call(number))
        assert names(router, call(100, text=text + "and then?"))[0] == first.upstream


def test_an_adapter_goes_where_it_is() -> None:
    router = router_of({name: upstream(adapter_slots=2) for name in "abcd"})
    there: dict[str, str] = {}
    for number in range(200):
        model = f"adapter-{number % 8}"
        candidate = send(router, number, model=model)
        router.first_byte(candidate, 0.1)
        router.done(candidate, call(number))
        assert there.setdefault(model, candidate.upstream) == candidate.upstream
    assert set(Counter(there.values()).values()) == {2}


def test_workers_that_share_nothing_send_an_adapter_to_one_place() -> None:
    workers = [router_of({name: upstream(adapter_slots=16) for name in "abcd"}) for _ in range(3)]
    for number in range(40):
        model = f"adapter-{number}"
        assert len({send(worker, number, model=model).upstream for worker in workers}) == 1


@given(st.lists(st.floats(0, 20), min_size=4, max_size=4), st.floats(0, 2 * STALE_S))
def test_a_poll_starts_no_herd(waiting: list[float], age_s: float) -> None:
    """Between two polls the quietest upstream takes its bound, and no more."""
    clock = Clock()
    router = router_of({name: upstream(poll_metrics=True) for name in "abcd"}, clock)
    for name, count in zip("abcd", waiting, strict=True):
        router.memory.view.take(name, Figures(waiting=count))
    clock.now_s += age_s
    taken = Counter(send(router, number).upstream for number in range(100))
    others = sum(waiting)
    assert max(taken.values()) <= bound(99 + others, 1 / 4)


def test_an_upstream_that_falls_silent_attracts_nothing() -> None:
    clock = Clock()
    router = router_of({name: upstream(poll_metrics=True) for name in "ab"}, clock)
    router.memory.view.take("a", Figures())
    clock.now_s += STALE_S
    router.memory.view.take("b", Figures(running=4))
    assert names(router, call())[0] == "b"


def test_where_all_are_silent_requests_are_still_spread() -> None:
    router = router_of({name: upstream(poll_metrics=True) for name in "abcd"})
    taken = Counter(send(router, number, text=f"q{number}").upstream for number in range(200))
    assert max(taken.values()) <= bound(199, 1 / 4)
    assert len(taken) == 4


def test_by_weight_turns_are_taken() -> None:
    router = router_of({"a": upstream(weight=3.0), "b": upstream()}, order="weight")
    firsts = Counter(names(router, call(number))[0] for number in range(40))
    assert firsts == {"a": 30, "b": 10}


def test_by_latency_the_quickest_is_first_until_it_is_busy() -> None:
    router = router_of({"slow": upstream(), "quick": upstream()}, order="latency")
    for name, latency_s in (("slow", 0.3), ("quick", 0.1)):
        router.memory.view.first_byte(name, latency_s)
    assert names(router, call()) == ["quick", "slow"]
    taken = Counter(send(router, number).upstream for number in range(40))
    assert taken == {"quick": 30, "slow": 10}


def test_by_latency_who_was_never_tried_is_not_rushed_at() -> None:
    router = router_of({"new": upstream(), "known": upstream()}, order="latency")
    router.memory.view.first_byte("known", 0.1)
    taken = Counter(send(router, number).upstream for number in range(40))
    assert taken == {"new": 20, "known": 20}


def test_by_cost_the_length_of_answers_decides() -> None:
    reads = upstream(read_price=1.0, write_price=10.0)
    writes = upstream(read_price=3.0, write_price=1.0)
    router = router_of({"reads": reads, "writes": writes}, order="cost")
    asked = call(max_tokens=1000)  # 100 tokens of prompt: 1.1 against 0.13 of writing
    assert names(router, asked) == ["writes", "reads"]
    for _ in range(5):
        router.done(router.candidates(asked)[0], asked, Usage(100, 10))
    assert names(router, asked) == ["reads", "writes"]


def test_by_cost_what_was_read_before_is_cheaper() -> None:
    cheap_again = upstream(read_price=1.1, cached_price=0.1)
    router = router_of({"a": cheap_again, "b": upstream(read_price=1.0)}, order="cost")
    asked = call(text=LONG)
    assert names(router, asked) == ["b", "a"]
    candidate = next(each for each in router.candidates(asked) if each.upstream == "a")
    router.sent(candidate, asked)
    assert names(router, asked) == ["a", "b"]


def test_by_cost_equals_go_by_load() -> None:
    router = router_of({"a": upstream(), "b": upstream()}, order="cost")
    taken = Counter(send(router, number).upstream for number in range(40))
    assert max(taken.values()) <= bound(40, 1 / 2)


def test_new_settings_keep_what_was_learned() -> None:
    clock = Clock()
    memory = Memory(clock)
    old = GatewayConfig({n: upstream() for n in "abc"}, {"*": RouteConfig(("a", "b", "c"))})
    router = Router(old, memory, clock)
    candidate = send(router, 1, text=LONG)
    kept = [candidate.upstream, *[n for n in "abc" if n != candidate.upstream][:1], "new"]
    config = GatewayConfig({n: upstream() for n in kept}, {"*": RouteConfig(tuple(kept))})
    later = Router(config, memory, clock)
    assert later.memory.view.in_flight(candidate.upstream) == 1
    assert names(later, call(2, text=LONG))[0] == candidate.upstream
    router.done(candidate, call(1))  # begun under the old settings, ended under the new ones
    assert later.memory.view.in_flight(candidate.upstream) == 0


def test_a_canary_is_dealt_on_its_route() -> None:
    route = RouteConfig(("a",), canary_model="new", canary_share=1.0)
    config = GatewayConfig({"a": upstream()}, {"*": route})
    dealt = Router(config, Memory(Clock()), Clock()).deal(call())
    assert (dealt.model, dealt.is_canary, dealt.shadow_model) == ("new", True, None)
