"""Every label is visited in every epoch, sparse questions fill their batches, and order is seeded."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from descant.training.hyperparameters import Hyperparameters
from descant.training.schedule import learning_rate_factor, plan_batches

RECIPE = Hyperparameters(epochs=2, min_steps=1, batch_conversations=4)
LABELLED = st.lists(st.frozensets(st.integers(0, 3)), min_size=1, max_size=30)


@settings(max_examples=60, deadline=None)
@given(labelled=LABELLED, epochs=st.integers(1, 3), seed=st.integers(0, 5))
def test_every_epoch_visits_every_label_once(
    labelled: list[frozenset[int]], epochs: int, seed: int
) -> None:
    batches = plan_batches(labelled, replace(RECIPE, epochs=epochs, seed=seed))
    visits = Counter(
        (conversation, question)
        for batch in batches
        for conversation in batch.conversations
        for question in batch.questions
        if question in labelled[conversation]
    )
    expected = {(index, question) for index, labels in enumerate(labelled) for question in labels}
    assert visits == dict.fromkeys(expected, epochs)


@settings(max_examples=60, deadline=None)
@given(labelled=LABELLED, min_steps=st.integers(1, 40))
def test_a_batch_names_just_the_questions_it_has_labels_for(
    labelled: list[frozenset[int]], min_steps: int
) -> None:
    for batch in plan_batches(labelled, replace(RECIPE, min_steps=min_steps)):
        assert 1 <= len(batch.conversations) <= RECIPE.batch_conversations
        present = {question for index in batch.conversations for question in labelled[index]}
        assert batch.questions
        assert set(batch.questions) <= present
        assert list(batch.questions) == sorted(batch.questions)


def test_rarely_labelled_conversations_stand_together() -> None:
    labelled = [frozenset({0, 1}) if index % 7 == 0 else frozenset({0}) for index in range(56)]
    batches = plan_batches(labelled, replace(RECIPE, epochs=1))
    assert len(batches) == 14
    assert sum(1 in batch.questions for batch in batches) == 2


def test_a_sparse_question_has_its_steps_and_the_others_are_left_alone() -> None:
    labelled = [frozenset({0, 1}) if index % 7 == 0 else frozenset({0}) for index in range(56)]
    batches = plan_batches(labelled, replace(RECIPE, min_steps=12))
    steps = Counter(question for batch in batches for question in batch.questions)
    assert steps == {0: 28, 1: 12}
    # At most four times the epochs, however many steps are wished for.
    batches = plan_batches(labelled, replace(RECIPE, min_steps=28))
    assert Counter(q for batch in batches for q in batch.questions) == {0: 28, 1: 16}


def test_the_plan_follows_from_the_seed() -> None:
    labelled = [frozenset({index % 3}) for index in range(40)]
    assert plan_batches(labelled, RECIPE) == plan_batches(labelled, RECIPE)
    assert plan_batches(labelled, RECIPE) != plan_batches(labelled, replace(RECIPE, seed=1))


def test_the_rate_rises_to_the_full_one_and_falls_to_nothing() -> None:
    factors = [learning_rate_factor(step, 100, 0.1) for step in range(100)]
    assert factors[:10] == [(step + 1) / 10 for step in range(10)]
    assert max(factors) == 1.0
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert factors[-1] < 0.01
