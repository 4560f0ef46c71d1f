"""The trie finds every label's tokens on few paths."""

from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from descant.engine.label_trie import build_trie, label_log_probabilities
from descant.schema.errors import InvalidIndicator

label = st.lists(st.integers(0, 3), min_size=1, max_size=4).map(tuple)


def begins(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    return other[: len(one)] == one


@given(st.lists(label, min_size=2, max_size=8, unique=True))
def test_every_prediction_stands_behind_its_own_label(labels: list[tuple[int, ...]]) -> None:
    assume(not any(a != b and begins(a, b) for a in labels for b in labels))
    trie = build_trie(labels)
    for ids, predictions in zip(labels, trie.predictions, strict=True):
        assert tuple(at.token_id for at in predictions) == ids
        for at in predictions:
            assert trie.paths[at.path][: at.depth] == ids[: at.depth]
    assert not any(a != b and begins(a, b) for a in trie.paths for b in trie.paths)


@given(st.lists(label, min_size=2, max_size=6, unique=True), st.integers(0, 999))
def test_probabilities_are_products_normalised_over_the_set(
    labels: list[tuple[int, ...]], seed: int
) -> None:
    assume(not any(a != b and begins(a, b) for a in labels for b in labels))
    generator = torch.Generator().manual_seed(seed)
    table = {
        path: torch.randn(4, generator=generator).log_softmax(0)
        for ids in labels
        for path in (ids[:depth] for depth in range(len(ids)))
    }
    table = {path: table[path] for path in table}
    trie = build_trie(labels)
    rows = [torch.stack([table[p[:d]] for d in range(len(p) + 1)]) for p in trie.paths]
    got = label_log_probabilities(trie, rows).exp()
    products = torch.tensor(
        [
            float(torch.stack([table[ids[:d]][ids[d]] for d in range(len(ids))]).sum().exp())
            for ids in labels
        ]
    )
    assert torch.allclose(got, products / products.sum(), atol=1e-5)


def test_one_token_labels_need_no_path() -> None:
    trie = build_trie([(4,), (5,)])
    assert trie.paths == ((),)
    assert trie.single_tokens == (4, 5)
    assert build_trie([(4, 1), (5,)]).single_tokens is None


@pytest.mark.parametrize("labels", [[(1,), ()], [(1,), (1,)], [(1,), (1, 2)], [(1, 2), (1,)]])
def test_labels_that_cannot_be_told_apart_are_refused(labels: list[tuple[int, ...]]) -> None:
    with pytest.raises(InvalidIndicator, match="labels|Labels"):
        build_trie(labels)
