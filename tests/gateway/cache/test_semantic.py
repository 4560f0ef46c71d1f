from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from descant.gateway.cache import CachedAnswer, Identity
from descant.gateway.cache.false_hits import FalseHitConfig, FalseHitGate
from descant.gateway.cache.semantic import Question, SemanticCache, SemanticConfig, normalised
from descant.gateway.cache.vectors import VectorTable
from descant.gateway.call import Call, Caller
from tests.gateway.cache.calls import Clock, answer, chat

SOME = Identity("sha-1")
CONFIG = SemanticConfig()


async def embed(texts: Sequence[str]) -> list[list[float]]:
    """A topic (the first word) is a direction; the other words turn it a little."""
    return [vector(text) for text in texts]


def vector(text: str) -> list[float]:
    topic, _, rest = text.partition(" ")
    direction, turn = random.Random(topic), random.Random(rest)
    return [direction.gauss(0, 1) + turn.gauss(0, 0.05) for _ in range(16)]


class AlwaysOpen(FalseHitGate):
    """A gate whose evidence is there from the beginning."""

    def __init__(self) -> None:
        super().__init__("r", FalseHitConfig(), lambda: 0.999)
        while self.check_share == 1:
            self.record(is_false=False)


def cache(
    config: SemanticConfig = CONFIG, clock: Clock | None = None, **more: Any
) -> SemanticCache:
    gate = more.pop("gate", None) or AlwaysOpen()
    return SemanticCache(config, gate, clock or Clock(), **more)


def ask(
    semantic: SemanticCache, call: Call, identity: Identity = SOME, embedder: Any = embed
) -> Question:
    return asyncio.run(semantic.ask(call, identity, embedder))


def filled(**more: Any) -> SemanticCache:
    semantic = cache(**more)
    semantic.keep(ask(semantic, chat("parcel where is it")), answer("On its way."))
    return semantic


def test_without_numpy_it_says_what_to_install() -> None:
    code = """
import sys
sys.modules["numpy"] = None
import descant.gateway.cache
from descant.schema.errors import MissingDependency
try:
    import descant.gateway.cache.semantic
except MissingDependency as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install numpy" in done.stdout


def test_a_question_that_means_the_same_gets_the_answer() -> None:
    question = ask(filled(), chat("parcel tell me where"))
    assert question.is_served
    assert question.match is not None
    assert question.match.answer == answer("On its way.")
    assert 0.95 < question.match.similarity < 1


def test_litellm_12234_different_questions_do_not_share_an_entry() -> None:
    assert ask(filled(), chat("invoice where is it")).match is None


@pytest.mark.parametrize(
    "other",
    [
        replace(chat("parcel where is it"), caller=Caller("k", "other")),
        replace(chat("parcel where is it"), model="m2"),
        chat("parcel where is it", system="Be brief. You speak with Anna."),
        chat("parcel where is it", seed=5),
        chat("parcel where is it", max_tokens=5),
        chat("parcel where is it", tools=[]),
        chat("parcel where is it", user="Anna"),
    ],
    ids=["tenant", "model", "system", "seed", "most", "tools", "user"],
)
def test_semantic_router_2134_no_similarity_crosses_a_partition(other: Call) -> None:
    assert ask(filled(), other).match is None


def test_a_retrained_adapter_does_not_get_the_old_answers() -> None:
    assert ask(filled(), chat("parcel where is it"), Identity("sha-2")).match is None


def test_nothing_is_served_without_evidence() -> None:
    gate = FalseHitGate("r", FalseHitConfig(), lambda: 0.999)
    semantic = filled(gate=gate)
    for number in range(20):
        question = ask(semantic, chat(f"parcel where {number}"))
        assert question.match is not None
        assert not question.is_served
        asyncio.run(semantic.check(question, answer("On its way.")))
    assert (gate.state().checks, gate.state().false) == (20, 0)


def test_a_wrong_match_is_counted_and_the_right_answer_kept() -> None:
    gate = FalseHitGate("r", FalseHitConfig(), lambda: 0.999)
    semantic = filled(gate=gate)
    question = ask(semantic, chat("parcel where is it not"))
    asyncio.run(semantic.check(question, answer("It is not.")))
    assert gate.state().false == 1
    again = ask(semantic, chat("parcel where is it not"))
    assert again.match is not None
    assert again.match.answer == answer("It is not.")


def test_a_judge_may_be_milder_and_one_that_fails_speaks_against_the_match() -> None:
    async def mild(kept: CachedAnswer, fresh: CachedAnswer) -> bool:
        return True

    async def broken(kept: CachedAnswer, fresh: CachedAnswer) -> bool:
        raise OSError("no judge")

    for judge, num_false in ((mild, 0), (broken, 1)):
        gate = FalseHitGate("r", FalseHitConfig(), lambda: 0.999)
        semantic = filled(gate=gate, judge=judge)
        question = ask(semantic, chat("parcel where"))
        asyncio.run(semantic.check(question, answer("It comes.")))
        assert (gate.state().checks, gate.state().false) == (1, num_false)
        assert semantic.counts.failed == num_false


async def silent(texts: Sequence[str]) -> list[list[float]]:
    raise OSError("no embedder")


async def endless(texts: Sequence[str]) -> list[list[float]]:
    return [[float("nan"), 1.0]]


async def empty(texts: Sequence[str]) -> list[list[float]]:
    return []


@pytest.mark.parametrize("embedder", [silent, endless, empty])
def test_trouble_with_the_embedder_fails_no_request(embedder: Any) -> None:
    semantic = cache()
    question = ask(semantic, chat("parcel"), embedder=embedder)
    assert question.match is None
    semantic.keep(question, answer())
    assert semantic.counts.failed == 1
    assert semantic.held_bytes == 0


def test_answers_expire() -> None:
    clock = Clock()
    semantic = filled(clock=clock)
    clock.now_s = CONFIG.ttl_s
    assert ask(semantic, chat("parcel where is it")).match is None
    assert semantic.counts.expired == 1


def test_another_embedder_starts_anew() -> None:
    width = [16]

    async def embedder(texts: Sequence[str]) -> list[list[float]]:
        return [[1.0] * width[0]]

    semantic = cache()
    semantic.keep(ask(semantic, chat("parcel"), embedder=embedder), answer())
    width[0] = 8
    question = ask(semantic, chat("parcel"), embedder=embedder)
    assert question.match is None
    semantic.keep(question, answer())
    assert ask(semantic, chat("parcel"), embedder=embedder).match is not None


def test_bounded() -> None:
    config = SemanticConfig(most_partitions=3, most_entries=4, most_bytes=8000)
    semantic = cache(config)
    chance = random.Random(0)
    for number in range(300):
        call = chat(f"{number} x", system=f"{chance.randrange(6)}")
        semantic.keep(ask(semantic, call), answer("x" * chance.randrange(900)))
        assert semantic.held_bytes <= config.most_bytes
        assert len(semantic._partitions) <= 3
        held = sum(partition.held_bytes for partition in semantic._partitions.values())
        assert held == semantic.held_bytes
        assert all(len(one.kept) <= 4 for one in semantic._partitions.values())


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("On  its way.\n", "on its way.", True),
        ("On its way.", "Not on its way.", False),
        ('{"a": 1, "b": [2]}', '{"b":[2],"a":1}', True),
        ('{"a": 1}', '{"a": 2}', False),
    ],
)
def test_answers_are_compared_by_what_they_say(one: str, other: str, is_same: bool) -> None:
    assert (normalised(answer(one).body) == normalised(answer(other).body)) == is_same


def test_tool_calls_are_part_of_what_is_said() -> None:
    def body(city: str, key: str) -> bytes:
        function = {"name": "weather", "arguments": f'{{"city": "{city}"}}'}
        message = {"content": None, "tool_calls": [{"id": key, "function": function}]}
        return orjson.dumps({"choices": [{"message": message}]})

    assert normalised(body("Rome", "1")) == normalised(body("Rome", "2"))
    assert normalised(body("Rome", "1")) != normalised(body("Oslo", "1"))


@given(st.lists(st.integers(0, 9), min_size=1, max_size=30), st.integers(0, 9))
def test_the_nearest_is_what_a_slow_search_finds(added: list[int], asked: int) -> None:
    vectors = np.random.default_rng(0).normal(size=(10, 5))
    table = VectorTable(5, 7)
    places: dict[int, int] = {}
    for number in added:
        places[table.add(vectors[number].tolist())] = number
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    best = max(float(units[number] @ units[asked]) for number in places.values())
    found = table.nearest(vectors[asked].tolist())
    assert found is not None
    assert found.similarity == pytest.approx(best, abs=1e-5)
    assert float(units[places[found.place]] @ units[asked]) == pytest.approx(best, abs=1e-5)


@pytest.mark.parametrize(("num_near_duplicates", "is_served"), [(0, True), (1, False)])
def test_near_duplicates_with_other_answers_keep_it_shut(
    num_near_duplicates: int, is_served: bool
) -> None:
    """Of every 20 questions, so many are near a known one and have another answer."""

    async def main() -> None:
        chance = random.Random(3)
        gate = FalseHitGate("r", FalseHitConfig(), chance.random)
        semantic = cache(gate=gate)
        num_served = num_false = 0
        for number in range(4000):
            is_other = chance.randrange(20) < num_near_duplicates
            topic = chance.randrange(30)
            text = f"{topic} {'not ' * is_other}{number}"
            right = answer(f"{topic} {number if is_other else ''}")
            question = await semantic.ask(chat(text), SOME, embed)
            if question.is_served and question.match is not None:
                num_served += 1
                num_false += question.match.answer != right
            else:
                await semantic.check(question, right)
        assert num_false <= 0.01 * num_served
        assert (num_served > 500) == is_served

    asyncio.run(main())
