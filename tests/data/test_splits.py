from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from descant.data import Fractions, split_of, split_rows
from descant.schema.errors import InvalidConfig
from tests.data.rows import call, ids

FRACTIONS = Fractions(0.5, 0.2, 0.3)


@given(
    known=st.lists(ids, unique=True), added=st.lists(ids, unique=True), seed=st.integers(0, 2**32)
)
def test_reordering_and_adding_rows_moves_no_conversation(
    known: list[str], added: list[str], seed: int
) -> None:
    before = split_rows([call(name) for name in known], FRACTIONS)
    grown = [*known, *(name for name in added if name not in known)]
    random.Random(seed).shuffle(grown)
    after = split_rows([call(name) for name in grown], FRACTIONS)
    for split in ("train", "dev", "test"):
        assert {row.transcript.id for row in before[split]} == (
            {row.transcript.id for row in after[split]} & set(known)
        )


def test_shares_come_out_as_asked() -> None:
    dealt = [split_of(f"call-{at}", FRACTIONS) for at in range(5000)]
    shares = [dealt.count(split) / 5000 for split in ("train", "dev", "test")]
    assert shares == pytest.approx([0.5, 0.2, 0.3], abs=0.02)


def test_a_place_once_given_never_changes() -> None:
    dealt = [split_of(name, Fractions()) for name in ("call-1", "call-2", "call-3", "é")]
    assert dealt == ["train", "test", "dev", "train"]


def test_rows_keep_their_order() -> None:
    train = split_rows([call(str(at)) for at in range(50)], FRACTIONS)["train"]
    assert [int(row.transcript.id) for row in train] == sorted(
        int(row.transcript.id) for row in train
    )


def test_another_seed_deals_anew() -> None:
    names = [str(at) for at in range(200)]
    assert [split_of(n, FRACTIONS, 1) for n in names] != [split_of(n, FRACTIONS, 2) for n in names]


@pytest.mark.parametrize("empty", [0, 1, 2])
def test_a_share_of_zero_is_none_at_all(empty: int) -> None:
    shares = [0.7, 0.3]
    shares.insert(empty, 0.0)
    splits = split_rows([call(str(at)) for at in range(2000)], Fractions(*shares))
    assert [len(rows) == 0 for rows in splits.values()] == [at == empty for at in range(3)]


_GROUPS = st.lists(st.frozensets(st.sampled_from("abcdefghij"), max_size=4), max_size=5)


@given(groups=_GROUPS, seed=st.integers(0, 99))
def test_groups_go_to_one_split_and_others_stay_where_they_were(
    groups: list[frozenset[str]], seed: int
) -> None:
    rows = [call(name) for name in "abcdefghij"]
    dealt = split_rows(rows, FRACTIONS, seed, groups)
    place = {row.transcript.id: split for split, part in dealt.items() for row in part}
    for group in groups:
        assert len({place[name] for name in group}) <= 1
    for name in set("abcdefghij").difference(*groups):
        assert place[name] == split_of(name, FRACTIONS, seed)


@given(groups=_GROUPS, newcomers=_GROUPS, seed=st.integers(0, 99))
def test_growing_groups_move_conversations_towards_test_only(
    groups: list[frozenset[str]], newcomers: list[frozenset[str]], seed: int
) -> None:
    rows = [call(name) for name in "abcdefghij"]
    order = ("train", "dev", "test")
    before = split_rows(rows, FRACTIONS, seed, groups)
    after = split_rows(rows, FRACTIONS, seed, [*groups, *newcomers])
    now = {row.transcript.id: order.index(split) for split, part in after.items() for row in part}
    for split, part in before.items():
        assert all(now[row.transcript.id] >= order.index(split) for row in part)


@pytest.mark.parametrize("shares", [(0.5, 0.5, 0.5), (1.2, -0.1, -0.1), (float("nan"), 0.5, 0.5)])
def test_fractions_that_are_no_shares_are_refused(shares: tuple[float, float, float]) -> None:
    with pytest.raises(InvalidConfig, match="not shares of a whole"):
        Fractions(*shares)
