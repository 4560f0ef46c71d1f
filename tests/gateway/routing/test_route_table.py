from __future__ import annotations

from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from descant.gateway.config import RouteConfig
from descant.gateway.routing.route_table import RouteTable
from descant.schema.errors import ModelNotFound

GLOBS = st.text("ab*", min_size=1, max_size=5)


def test_the_exact_name_goes_before_any_glob() -> None:
    exact, glob = RouteConfig(("one",)), RouteConfig(("two",))
    assert RouteTable({"refund-*": glob, "refund-a": exact}).route("refund-a") is exact


def test_the_longest_glob_counts() -> None:
    short, long = RouteConfig(("one",)), RouteConfig(("two",))
    table = RouteTable({"*": short, "refund-*": long})
    assert table.route("refund-b") is long
    assert table.route("polite") is short


@given(st.lists(GLOBS, min_size=1, unique=True), st.text("ab", min_size=1, max_size=5))
def test_lookup_is_that_of_trying_all(globs: list[str], model: str) -> None:
    table = RouteTable({glob: RouteConfig((glob,)) for glob in globs})
    fitting = [glob for glob in globs if glob == model or fnmatchcase(model, glob)]
    if not fitting:
        with pytest.raises(ModelNotFound):
            table.route(model)
        return
    best = model if model in globs else min(fitting, key=lambda glob: (-len(glob), glob))
    for _ in range(2):  # the second answer is a remembered one
        assert table.route(model).upstreams == (best,)


def test_an_unknown_model_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ModelNotFound, match="polit") as refused:
        RouteTable({"polite": RouteConfig(("one",))}).route("polit")
    assert "polite" in (refused.value.remedy or "")


def test_names_made_up_by_callers_do_not_pile_up() -> None:
    table = RouteTable({"*": RouteConfig(("one",))})
    for number in range(5_000):
        table.route(f"model-{number}")
    assert len(table._found) <= 1024
