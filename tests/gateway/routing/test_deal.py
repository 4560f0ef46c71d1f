from __future__ import annotations

import pytest

from descant.gateway.config import RouteConfig
from descant.gateway.routing.deal import Deal, deal
from descant.schema.errors import InvalidConfig
from descant.server.trial import _point as trial_point
from tests.gateway.routing.calls import call, raw_call


def route(**fields: object) -> RouteConfig:
    return RouteConfig(("own",), canary_model="new", shadow_model="dark", **fields)  # type: ignore[arg-type]


def test_without_shares_nothing_is_dealt() -> None:
    assert deal(call(), route()) == Deal("polite")


def test_shares_are_kept() -> None:
    dealt = [
        deal(call(text=f"q{number}"), route(canary_share=0.1, shadow_share=0.3))
        for number in range(2000)
    ]
    canaries = [each for each in dealt if each.is_canary]
    assert 150 < len(canaries) < 250
    assert {each.model for each in canaries} == {"new"}
    assert {each.model for each in dealt if not each.is_canary} == {"polite"}
    shadows = [each for each in dealt if each.shadow_model == "dark"]
    assert 500 < len(shadows) < 700
    assert 0 < sum(each.is_canary for each in shadows) < len(canaries)


def test_a_conversation_goes_one_way_whatever_follows() -> None:
    terms = route(canary_share=0.5)
    for number in range(50):
        first = [{"role": "user", "content": f"q{number}"}]
        later = [*first, {"role": "assistant", "content": "a"}, {"role": "user", "content": "b"}]
        early = deal(raw_call("chat", {"messages": first}), terms)
        assert deal(raw_call("chat", {"messages": later}), terms) == early


def test_a_tenant_goes_one_way() -> None:
    terms = route(canary_share=0.5, deal_by="tenant")
    ways = {
        tenant: {deal(call(text=f"q{number}", tenant=tenant), terms) for number in range(20)}
        for tenant in map(str, range(20))
    }
    assert all(len(way) == 1 for way in ways.values())
    assert len(set.union(*ways.values())) == 2


def test_the_server_deals_the_same_conversations() -> None:
    terms = route(canary_share=0.5)
    for number in range(50):
        body = {"conversation": {"id": f"c{number}", "turns": []}}
        is_canary = trial_point("canary", f"c{number}") < 0.5
        assert deal(raw_call("scores", body), terms).is_canary is is_canary


@pytest.mark.parametrize("trial", ["canary", "shadow"])
def test_a_share_of_nothing_is_refused(trial: str) -> None:
    with pytest.raises(InvalidConfig, match=f"{trial}_share needs a {trial}_model"):
        RouteConfig(("own",), **{f"{trial}_share": 0.1})  # type: ignore[arg-type]
