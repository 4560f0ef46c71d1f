"""Log-probabilities of tokens become probabilities of labels; the slow twin knows the whole tree."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from descant.distillation.label_shares import read_probabilities
from descant.distillation.teacher import Nonsense


def token(text: str, share: float, **others: float) -> dict[str, Any]:
    return {
        "token": text,
        "logprob": math.log(share),
        "bytes": list(text.encode()),
        "top_logprobs": [
            {"token": other, "logprob": math.log(value), "bytes": None}
            for other, value in {text: share, **others}.items()
        ],
    }


def test_the_first_token_shares_itself_out() -> None:
    shares = read_probabilities([token("yes", 0.6, no=0.2, The=0.1)], ("no", "yes"))
    assert shares == pytest.approx({"no": 0.25, "yes": 0.75})


def test_case_and_space_in_front_are_the_same_label() -> None:
    tokens = [token("yes", 0.4, **{"Yes": 0.2, " yes": 0.1, "No": 0.2, "NO": 0.1})]
    assert read_probabilities(tokens, ("no", "yes")) == pytest.approx({"no": 0.3, "yes": 0.7})


def test_a_token_may_hold_a_part_of_a_label_or_go_beyond_it() -> None:
    tokens = [token("go", 0.5, **{"ba": 0.3, "fair.": 0.15, "baseball": 0.05}), token("od", 1.0)]
    shares = read_probabilities(tokens, ("bad", "fair", "good"))
    assert shares == pytest.approx({"bad": 0.3 / 0.95, "fair": 0.15 / 0.95, "good": 0.5 / 0.95})


def test_labels_that_begin_alike_are_parted_by_the_next_token() -> None:
    tokens = [token("card", 0.8, transfer=0.2), token("_lost", 0.75, _late=0.25)]
    shares = read_probabilities(tokens, ("card_late", "card_lost", "transfer"))
    assert shares == pytest.approx({"card_late": 0.2, "card_lost": 0.6, "transfer": 0.2})


def test_what_may_be_one_or_another_is_not_guessed() -> None:
    tokens = [token("transfer", 0.3, card=0.7)]
    with pytest.raises(Nonsense, match="30% is on one each, 70% on several alike"):
        read_probabilities(tokens, ("card_late", "card_lost", "transfer"))


def test_in_json_the_tokens_before_the_label_do_not_count() -> None:
    opening = [token('{"', 0.01, Yes=0.9), token("label", 1.0), token('":', 1.0), token(' "', 0.5)]
    tokens = [*opening, token("yes", 0.9, no=0.1), token('"}', 1.0)]
    assert read_probabilities(tokens, ("no", "yes")) == pytest.approx({"no": 0.1, "yes": 0.9})


def test_a_token_may_reach_from_the_opening_into_the_label() -> None:
    tokens = [token('{"label":', 1.0), token('"yes', 0.8, **{'"no': 0.2}), token('"}', 1.0)]
    assert read_probabilities(tokens, ("no", "yes")) == pytest.approx({"no": 0.2, "yes": 0.8})


def test_in_json_the_quote_ends_a_label_that_begins_another() -> None:
    tokens = [token('{"label": "', 1.0), token("no", 1.0), token('"}', 0.7, _answer=0.3)]
    shares = read_probabilities(tokens, ("no", "no_answer"))
    assert shares == pytest.approx({"no": 0.7, "no_answer": 0.3})


def test_a_bare_label_that_begins_another_cannot_be_told() -> None:
    with pytest.raises(Nonsense, match="100% on several alike"):
        read_probabilities([token("no", 1.0)], ("no", "no_answer"))


def test_halves_of_characters_are_joined_by_their_bytes() -> None:
    first, second = "é".encode()[:1], "é".encode()[1:]
    tokens = [
        {"token": "\ufffd", "logprob": math.log(0.8), "bytes": list(first), "top_logprobs": []},
        {"token": "\ufffd", "logprob": 0.0, "bytes": list(second), "top_logprobs": []},
    ]
    tokens[0]["top_logprobs"] = [{"token": "a", "logprob": math.log(0.2), "bytes": [97]}]
    assert read_probabilities(tokens, ("a", "é")) == pytest.approx({"a": 0.2, "é": 0.8})


@pytest.mark.parametrize(
    "tokens",
    [
        None,
        {},
        "yes",
        [],
        [None],
        [{"token": "yes"}],
        [{"token": "yes", "logprob": "high"}],
        [{"token": "yes", "logprob": float("nan")}],
        [{"token": "yes", "logprob": 3.0}],
        [{"token": None, "logprob": 0.0}],
        [{"token": "yes", "logprob": 0.0, "bytes": [300]}],
        [{"token": "yes", "logprob": 0.0, "top_logprobs": 5}],
        [{"token": "maybe", "logprob": 0.0}],
        [{"token": "yes", "logprob": -5.0}],
    ],
)
def test_what_tells_nothing_is_said_to_tell_nothing(tokens: Any) -> None:
    with pytest.raises(Nonsense):
        read_probabilities(tokens, ("no", "yes"))


labels_and_shares = st.dictionaries(
    st.text("ab_", min_size=1, max_size=5), st.floats(0.02, 1), min_size=2, max_size=6
)


@given(raw=labels_and_shares, data=st.data())
def test_a_walk_through_the_tree_of_labels_gives_the_shares_of_the_tree(
    raw: dict[str, float], data: st.DataObject
) -> None:
    """A tokenizer of single characters, and a teacher that holds to JSON and knows its own mind."""
    total = sum(raw.values())
    true = {label: share / total for label, share in raw.items()}
    texts = {label: json.dumps({"label": label}) for label in true}
    said = data.draw(st.sampled_from(sorted(true)))
    tokens, parted = [], dict.fromkeys(true, False)
    for at, char in enumerate(texts[said]):
        alike = {label for label in true if texts[label][:at] == texts[said][:at]}
        reach = sum(true[label] for label in alike)
        nexts: dict[str, float] = {}
        for label in alike:
            nexts[texts[label][at]] = nexts.get(texts[label][at], 0.0) + true[label] / reach
        tokens.append(token(char, nexts.pop(char), **nexts))
        for label in alike:
            others = [other for other in alike if texts[other][at] == texts[label][at]]
            parted[label] |= others == [label]
    # Where several labels leave the way together, nothing tells these apart.
    assume(all(parted.values()))
    assert read_probabilities(tokens, list(true)) == pytest.approx(true)
