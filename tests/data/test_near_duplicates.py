from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from descant.data import (
    Fractions,
    NearDuplicateConfig,
    find_near_duplicates,
    split_of,
    split_rows,
)
from descant.schema import Transcript
from descant.schema.errors import InvalidConfig
from tests.data.rows import call

_WORDS = st.lists(st.sampled_from("abcdef"), max_size=14).map(" ".join)
_CONFIGS = st.builds(
    NearDuplicateConfig, st.integers(1, 4), st.sampled_from([0.1, 0.3, 0.5, 0.6, 0.7, 0.9, 1.0])
)


def transcripts(*texts: str) -> list[Transcript]:
    return [call(str(at), text + " .").transcript for at, text in enumerate(texts)]


def jaccard(one: set[tuple[str, ...]], other: set[tuple[str, ...]]) -> float:
    return len(one & other) / len(one | other) if one | other else 0.0


def all_pairs(texts: list[str], config: NearDuplicateConfig) -> list[tuple[tuple[int, ...], float]]:
    """The slow twin: every pair compared, and whatever hangs together."""
    sets = []
    for text in texts:
        words = text.split()
        length = min(config.shingle_words, len(words))
        ends = range(length, len(words) + 1) if words else ()
        sets.append({tuple(words[end - length : end]) for end in ends})
    group = list(range(len(sets)))
    for one in range(len(sets)):
        for other in range(one):
            if jaccard(sets[one], sets[other]) >= config.threshold:
                group = [group[other] if name == group[one] else name for name in group]
    found = []
    for name in dict.fromkeys(group):
        members = tuple(at for at, other in enumerate(group) if other == name)
        if len(members) > 1:
            nearest = max(jaccard(sets[members[0]], sets[other]) for other in members[1:])
            found.append((members, nearest))
    return sorted(found)


@given(st.lists(_WORDS, max_size=12), _CONFIGS)
def test_groups_are_those_of_comparing_all_pairs(
    texts: list[str], config: NearDuplicateConfig
) -> None:
    found = find_near_duplicates(transcripts(*texts), config)
    assert [(group.members, pytest.approx(group.similarity)) for group in found] == all_pairs(
        texts, config
    )


@pytest.mark.parametrize("seed", range(3))
def test_longer_texts_give_the_same_as_comparing_all_pairs(seed: int) -> None:
    drawn = random.Random(seed)
    words = [f"w{at}" for at in range(300)]
    texts = [" ".join(drawn.choices(words, k=80)) for _ in range(20)]
    for _ in range(60):
        copy = drawn.choice(texts).split()
        for _ in range(drawn.randrange(8)):
            copy[drawn.randrange(len(copy))] = drawn.choice(words)
        texts.append(" ".join(copy))
    found = find_near_duplicates(transcripts(*texts))
    expected = all_pairs(texts, NearDuplicateConfig())
    assert len(expected) > 5
    assert [(group.members, pytest.approx(group.similarity)) for group in found] == expected


def test_case_punctuation_and_speakers_do_not_count() -> None:
    texts = transcripts("I can't log in, sorry!", "i can\u2019t LOG in sorry", "I can log in now")
    (group,) = find_near_duplicates(texts)
    assert (group.ids, group.similarity) == (("0", "1"), 1.0)


def test_texts_without_words_are_like_nothing() -> None:
    assert find_near_duplicates(transcripts("...", "...", "?")) == ()


def test_many_almost_equal_texts_are_one_group() -> None:
    texts = [
        f"please leave a message after the tone {at} thank you for calling" for at in range(600)
    ]
    config = NearDuplicateConfig(threshold=0.5)
    (group,) = find_near_duplicates(transcripts(*texts), config)
    assert group.members == tuple(range(600))


@pytest.mark.parametrize(("words", "threshold"), [(0, 0.5), (3, 0.0), (3, 1.1), (3, float("nan"))])
def test_a_config_without_sense_is_refused(words: int, threshold: float) -> None:
    with pytest.raises(InvalidConfig):
        NearDuplicateConfig(words, threshold)


def test_near_duplicates_are_dealt_to_one_split() -> None:
    drawn = random.Random(0)
    words = [f"w{at}" for at in range(500)]
    rows = []
    for at in range(150):
        text = " ".join(drawn.choices(words, k=50))
        rows += [call(f"{at}", text), call(f"{at}-again", text + " bye")]
    groups = find_near_duplicates([row.transcript for row in rows])
    assert len(groups) == 150
    fractions = Fractions(0.5, 0.2, 0.3)
    dealt = split_rows(rows, fractions, together=[group.ids for group in groups])
    for part in dealt.values():
        ids = {row.transcript.id for row in part}
        assert {name for name in ids if not name.endswith("again")} == (
            {name.removesuffix("-again") for name in ids}
        )
    assert all(split_of(row.transcript.id, fractions) == "train" for row in dealt["train"])
