from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from descant.gateway.cache import Bounds, EmbeddingTier, Identity
from descant.gateway.call import Call, Caller, Usage
from tests.gateway.cache.calls import Clock, call

SOME = Identity("sha-1")


def request(given: Any, **fields: Any) -> Call:
    return call({"model": "e", "input": given, **fields}, operation="embeddings", model="e")


def upstream(body: dict[str, Any]) -> bytes:
    """Embeds a text as its length and its first letter; answers in any order."""
    rows = [
        {"object": "embedding", "index": index, "embedding": [len(text) / 7, float(ord(text[0]))]}
        for index, text in enumerate(body["input"])
    ]
    count = len(rows)
    usage = {"prompt_tokens": count, "total_tokens": count}
    return orjson.dumps({"object": "list", "model": "e", "data": rows[::-1], "usage": usage})


def tier() -> EmbeddingTier:
    return EmbeddingTier(Bounds(), Clock())


def ask(tier: EmbeddingTier, call: Call) -> tuple[list[Any], int]:
    """Return the embeddings in order, and how many texts upstream was asked for."""
    batch = tier.split(call, SOME)
    assert batch is not None
    if batch.is_known:
        body, usage = tier.whole(batch)
        assert usage == Usage()
    else:
        merged = tier.merge(batch, upstream(batch.rest()), 60)
        assert merged is not None
        body = merged
    whole = orjson.loads(body)
    assert [row["index"] for row in whole["data"]] == list(range(len(whole["data"])))
    return [row["embedding"] for row in whole["data"]], len(batch.missing)


@given(st.lists(st.lists(st.sampled_from(["a", "bb", "ccc", "d"]), min_size=1, max_size=6)))
def test_every_text_is_asked_for_once_and_answered_in_its_place(batches: list[list[str]]) -> None:
    embeddings, seen = tier(), set[str]()
    for texts in batches:
        vectors, num_asked = ask(embeddings, request(texts))
        assert vectors == [[len(text) / 7, float(ord(text[0]))] for text in texts]
        assert num_asked == len(set(texts) - seen)
        seen |= set(texts)


def test_usage_counts_what_was_asked_for() -> None:
    embeddings = tier()
    ask(embeddings, request(["a", "b"]))
    batch = embeddings.split(request(["a", "b", "c"]), SOME)
    assert batch is not None
    merged = embeddings.merge(batch, upstream(batch.rest()), 60)
    assert merged is not None
    assert orjson.loads(merged)["usage"] == {"prompt_tokens": 1, "total_tokens": 1}


@pytest.mark.parametrize(
    "other",
    [
        request(["a"], dimensions=5),
        request(["a"], encoding_format="base64"),
        replace(request(["a"]), model="other"),
        replace(request(["a"]), caller=Caller("k", "other")),
    ],
)
def test_partitions_do_not_mix(other: Call) -> None:
    embeddings = tier()
    ask(embeddings, request(["a"]))
    batch = embeddings.split(other, SOME)
    assert batch is not None
    assert not batch.known
    again = embeddings.split(request(["a"]), Identity("sha-2"))
    assert again is not None
    assert not again.known


def test_token_ids_are_one_text_and_lists_of_them_several() -> None:
    embeddings = tier()
    one, two = (
        embeddings.split(request([1, 2]), SOME),
        embeddings.split(request([[1, 2], [3]]), SOME),
    )
    assert one is not None
    assert two is not None
    assert (len(one.keys), len(two.keys)) == (1, 2)
    assert one.keys[0] == two.keys[0]
    assert one.rest()["input"] == [[1, 2]]


@pytest.mark.parametrize("given", [None, [], 5, ["a", 1], [None], {"text": "a"}])
def test_what_cannot_be_split_is_left_alone(given: Any) -> None:
    assert tier().split(request(given), SOME) is None


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"[]",
        b'{"data": []}',
        b'{"data": [{"index": 1, "embedding": [1.0]}]}',
        b'{"data": [{"index": 0}]}',
        b'{"data": [{"index": [], "embedding": [1.0]}]}',
        b'{"data": [{"index": 0, "embedding": [1]}, {"index": 0, "embedding": [1]}]}',
        b'{"data": [5]}',
    ],
)
def test_an_answer_that_does_not_fit_is_neither_merged_nor_kept(answer: bytes) -> None:
    embeddings = tier()
    batch = embeddings.split(request(["a"]), SOME)
    assert batch is not None
    assert embeddings.merge(batch, answer, 60) is None
    assert embeddings.held_bytes == 0


def test_vectors_come_back_to_the_last_bit() -> None:
    embeddings = tier()
    batch = embeddings.split(request("a"), SOME)
    assert batch is not None
    vector = [0.1, -1 / 3, 1e-300]
    row = {"index": 0, "embedding": vector}
    embeddings.merge(batch, orjson.dumps({"data": [row]}), 60)
    again = embeddings.split(request("a"), SOME)
    assert again is not None
    assert orjson.loads(embeddings.whole(again)[0])["data"][0]["embedding"] == vector


def test_bounded() -> None:
    embeddings = EmbeddingTier(Bounds(most_bytes=2000), Clock())
    for number in range(50):
        ask(embeddings, request([f"{number}"]))
        assert embeddings.held_bytes <= 2000
    assert embeddings.counts.evicted > 40
