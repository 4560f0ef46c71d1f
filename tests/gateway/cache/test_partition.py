from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from descant.gateway.cache import Identity
from descant.gateway.cache.partition import exact_key, split_free_text
from descant.gateway.call import Caller
from tests.gateway.cache.calls import call, chat

SOME = Identity("sha-1", "refund@3")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from("ab"),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2)
    ),
    max_leaves=5,
)
BODIES = st.dictionaries(st.sampled_from(["messages", "seed", "n", "x_new"]), JSON, max_size=3)


def canonical(body: dict[str, Any]) -> bytes:
    return orjson.dumps(body, option=orjson.OPT_SORT_KEYS)


@given(BODIES, BODIES, st.sampled_from("ab"), st.sampled_from("ab"))
def test_keys_are_the_same_only_for_the_same_request_of_the_same_tenant(
    one: dict[str, Any], other: dict[str, Any], tenant: str, other_tenant: str
) -> None:
    is_same = canonical(one) == canonical(other) and tenant == other_tenant
    keys = exact_key(call(one, tenant), SOME), exact_key(call(other, other_tenant), SOME)
    assert (keys[0] == keys[1]) == is_same


@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": 0.0001},
        {"top_p": 0.9},
        {"seed": 1},
        {"max_tokens": 5},
        {"max_completion_tokens": 5},
        {"stop": ["."]},
        {"n": 2},
        {"response_format": {"type": "json_object"}},
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"tool_choice": "none"},
        {"logit_bias": {"5": 1}},
        {"user": "another"},
        {"guided_choice": ["a", "b"]},
        {"a_field_of_next_year": True},
    ],
)
def test_every_field_of_the_body_is_part_of_the_key(fields: dict[str, Any]) -> None:
    assert exact_key(chat(**fields), SOME) != exact_key(chat(), SOME)
    changed, plain = split_free_text(chat(**fields), SOME), split_free_text(chat(), SOME)
    assert changed is not None
    assert plain is not None
    assert changed.partition != plain.partition
    assert changed.text == plain.text


def test_how_an_answer_is_delivered_is_not_part_of_the_key() -> None:
    streamed = chat(stream=True, stream_options={"include_usage": True})
    assert exact_key(streamed, SOME) == exact_key(chat(), SOME)


def test_the_order_of_fields_does_not_matter() -> None:
    body = dict(chat().body)
    turned = dict(reversed(body.items()))
    assert exact_key(call(turned), SOME) == exact_key(call(body), SOME)


@pytest.mark.parametrize("other", [Identity("sha-2", "refund@3"), Identity("sha-1", "refund@4")])
def test_a_retrained_adapter_or_a_changed_prompt_does_not_get_the_old_answers(
    other: Identity,
) -> None:
    assert exact_key(chat(), other) != exact_key(chat(), SOME)


def test_no_name_can_pass_for_another_by_where_it_is_cut() -> None:
    one = exact_key(replace(chat(), caller=Caller("k", 'a","chat')), SOME)
    assert one != exact_key(replace(chat(), caller=Caller("k", "a")), SOME)
    assert exact_key(chat(), Identity("ab", "c")) != exact_key(chat(), Identity("a", "bc"))


def test_litellm_29955_an_exact_answer_is_not_shared_across_teams() -> None:
    mine, theirs = chat(), replace(chat(), caller=Caller("key", "another team"))
    assert exact_key(mine, SOME) != exact_key(theirs, SOME)


def test_litellm_19575_models_of_one_namespace_are_apart() -> None:
    mine, other = chat(), replace(chat(), model="m2")
    assert exact_key(mine, SOME) != exact_key(other, SOME)


def test_litellm_29086_isolated_tenants_still_find_their_own_answers() -> None:
    first, again = split_free_text(chat("Hello?"), SOME), split_free_text(chat("Hello!"), SOME)
    assert first is not None
    assert again is not None
    assert first.partition == again.partition
    assert (first.text, again.text) == ("Hello?", "Hello!")


def test_octopus_235_the_system_prompt_is_part_of_the_key() -> None:
    one, other = chat(system="Be brief."), chat(system="Be rude.")
    assert exact_key(one, SOME) != exact_key(other, SOME)
    split, other_split = split_free_text(one, SOME), split_free_text(other, SOME)
    assert split is not None
    assert other_split is not None
    assert split.partition != other_split.partition


def test_earlier_turns_are_never_fuzzy() -> None:
    def turns(first: str) -> Any:
        earlier = [{"role": "user", "content": first}, {"role": "assistant", "content": "Yes."}]
        last = {"role": "user", "content": "And the other one?"}
        return split_free_text(call({"messages": [*earlier, last]}), SOME)

    assert turns("My card?").partition != turns("My loan?").partition


@pytest.mark.parametrize(
    "messages",
    [
        None,
        [],
        "text",
        [{"role": "user", "content": ""}],
        [{"role": "user", "content": [{"type": "text", "text": "a"}]}],
        [{"role": "assistant", "content": "a"}],
        [{"role": "tool", "content": "a"}],
        ["a"],
    ],
)
def test_only_a_plain_last_user_message_may_be_compared_by_meaning(messages: Any) -> None:
    assert split_free_text(call({"messages": messages}), SOME) is None
