from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from descant.gateway.routing.leading_text import MAX_BYTES, leading_text, opening_text
from descant.gateway.routing.prefix_index import BLOCK_BYTES, PrefixIndex, chain_of
from tests.gateway.routing.calls import call, raw_call

CHAIN = st.lists(st.integers(0, 2), max_size=6)


def chain(path: list[int]) -> tuple[int, ...]:
    """Give each beginning of a path a number of its own, as hashes would."""
    return tuple(hash(tuple(path[: end + 1])) for end in range(len(path)))


@given(st.lists(CHAIN, max_size=30), CHAIN, st.integers(1, 20))
def test_halving_finds_what_looking_one_by_one_finds(
    sent: list[list[int]], asked: list[int], blocks: int
) -> None:
    index = PrefixIndex(blocks)
    for path in sent:
        index.sent("a", chain(path))
    known = index._known.get("a", {})
    assert len(known) <= blocks
    length = 0
    while length < len(asked) and chain(asked)[length] in known:
        length += 1
    assert index.shared("a", chain(asked)) == (length / len(asked) if asked else 0.0)
    assert not any(block in known for block in chain(asked)[length:])


def test_what_was_sent_last_is_kept_longest() -> None:
    index = PrefixIndex(4)
    for path in ([0, 0], [1, 1], [0, 0], [2, 2]):
        index.sent("a", chain(path))
    assert index.shared("a", chain([0, 0])) == 1.0
    assert index.shared("a", chain([1, 1])) == 0.0


def test_the_next_turn_shares_what_the_last_one_said() -> None:
    first = [{"role": "system", "content": "s" * 3000}, {"role": "user", "content": "q" * 3000}]
    more = [{"role": "assistant", "content": "a" * 300}, {"role": "user", "content": "why?"}]
    early = chain_of(raw_call("chat", {"messages": first}))
    late = chain_of(raw_call("chat", {"messages": first + more}))
    assert len(early) == 6014 // BLOCK_BYTES
    assert late[: len(early)] == early


def test_one_changed_byte_changes_all_blocks_from_there() -> None:
    text = "x" * 5000
    one = chain_of(call(text=text))
    other = chain_of(call(text=text[:2000] + "y" + text[2001:]))
    same = [a == b for a, b in zip(one, other, strict=True)]
    assert same == [True] * 3 + [False] * 6


def test_models_share_no_prompts_but_scores_share_conversations() -> None:
    text = "x" * 5000
    assert not set(chain_of(call(model="a", text=text))) & set(chain_of(call(model="b", text=text)))
    body = {"conversation": {"turns": [{"speaker": "agent", "text": text}]}}
    scores = [chain_of(raw_call("scores", body, model=model)) for model in "ab"]
    assert scores[0] == scores[1] != ()


def test_all_operations_have_a_beginning() -> None:
    parts = [{"type": "text", "text": "hello"}, {"type": "image_url", "image_url": {"url": "u"}}]
    chat = {"tools": [{"type": "function"}], "messages": [{"role": "user", "content": parts}]}
    assert leading_text(raw_call("chat", chat)) == (
        b"[{\"type\":\"function\"}]\x1euser\x1ehello\x1e{'url': 'u'}"
    )
    assert leading_text(raw_call("completions", {"prompt": "once"})) == b"once"
    assert leading_text(raw_call("completions", {"prompt": ["once", "twice"]})) == b"once"
    assert leading_text(raw_call("completions", {"prompt": [1, 2]})) == b"[1, 2]"
    assert leading_text(raw_call("embeddings", {"input": "once"})) == b""


def test_the_opening_ends_with_the_first_question() -> None:
    said = [{"role": role, "content": role} for role in ("system", "user", "assistant", "user")]
    body = {"messages": said}
    assert opening_text(raw_call("chat", body)) == b"system\x1esystem\x1euser\x1euser"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)


@given(
    st.sampled_from(["chat", "completions", "scores", "embeddings"]),
    st.dictionaries(st.sampled_from(["messages", "prompt", "conversation", "tools"]), JSON),
)
def test_any_json_has_a_beginning(operation, body) -> None:  # type: ignore[no-untyped-def]
    asked = raw_call(operation, body)
    assert len(leading_text(asked)) <= MAX_BYTES
    assert isinstance(chain_of(asked), tuple)


def test_a_long_prompt_is_looked_at_in_part() -> None:
    asked = call(text="é" * 100_000)
    assert len(leading_text(asked)) == MAX_BYTES
    assert len(chain_of(asked)) == MAX_BYTES // BLOCK_BYTES
