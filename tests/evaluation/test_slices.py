from __future__ import annotations

import json

import pytest

from descant.evaluation import (
    Outcome,
    Predictions,
    ProtectedExample,
    find_breakages,
    slices_by,
    slices_by_field,
    slices_by_length,
    slices_by_time,
    worst_slices,
)
from descant.schema import LabelledTranscript, Transcript, Turn
from descant.schema.errors import InvalidData
from tests.evaluation.outcomes import BINARY, answer


def row(id: str, words: int = 3, **fields: str) -> LabelledTranscript:
    return LabelledTranscript(Transcript(id, (Turn("agent", "word " * words),)), fields=fields)


ROWS = [
    row(str(at), words=at + 1, language="de" if at % 4 == 0 else "en", agent=str(at % 5))
    for at in range(200)
]


def predictions(is_right: dict[str, bool], questions: int = 1) -> Predictions:
    return Predictions(
        "calls",
        tuple(
            Outcome(id, BINARY.name, "yes", answer(BINARY, "yes" if right else None))
            for id, right in is_right.items()
            for _ in range(questions)
        ),
    )


def test_fields_lengths_and_times_cut_every_conversation_once() -> None:
    timed = [row("a", time="2026-03-02T09:30"), row("b", time="2026-04-01"), row("c")]
    cuts = [
        (ROWS, slices_by_field(ROWS, "language")),
        (ROWS, slices_by_length(ROWS, parts=4)),
        (ROWS, slices_by(ROWS, "first digit", lambda each: each.transcript.id[0])),
        (timed, slices_by_time(timed)),
    ]
    for rows, slices in cuts:
        ids = [id for each in slices for id in each.ids]
        assert sorted(ids) == sorted(each.transcript.id for each in rows)
    assert [each.name for each in cuts[0][1]] == ["language = de", "language = en"]
    assert [each.value for each in cuts[1][1]] == ["0 to 50", "51 to 100", "101 to 150", "over 150"]
    assert [len(each.ids) for each in cuts[1][1]] == [50, 50, 50, 50]
    assert [each.value for each in cuts[3][1]] == ["2026-03", "2026-04", "not stated"]
    assert {each.value for each in slices_by_time(timed, "weekday")} == {"Mon", "Wed", "not stated"}
    assert slices_by_length([]) == ()


def test_a_time_that_is_none_is_named() -> None:
    with pytest.raises(InvalidData, match="'a': 'yesterday' is not a time"):
        slices_by_time([row("a", time="yesterday")])


def test_the_worst_slices_come_first_with_wider_intervals() -> None:
    ours = predictions(
        {r.transcript.id: r.fields["language"] == "en" or i % 8 == 0 for i, r in enumerate(ROWS)}
    )
    slices = slices_by_field(ROWS, "language") + slices_by_field(ROWS, "agent")
    found = worst_slices(ours, slices)
    alone = worst_slices(ours, slices[:1])
    assert found is not None
    assert alone is not None
    assert found.tested == 7
    assert len(found.worst) == 3
    german = found.worst[0]
    assert (german.name, german.conversations, german.accuracy.value) == ("language = de", 50, 0.5)
    assert german.is_below
    assert not found.worst[1].is_below
    assert german.accuracy.low < alone.worst[0].accuracy.low
    assert json.loads(json.dumps(found.to_json()))["overall"] == pytest.approx(0.875)


def test_small_slices_are_named_and_not_judged() -> None:
    rows = [*ROWS, row("x", language="fr")]
    found = worst_slices(
        predictions({r.transcript.id: True for r in rows}), slices_by_field(rows, "language")
    )
    assert found is not None
    assert (found.tested, found.too_small) == (2, ("language = fr",))
    assert worst_slices(predictions({}), ()) is None


def test_more_questions_about_the_same_conversations_make_nothing_surer() -> None:
    right = {r.transcript.id: int(r.transcript.id) % 3 > 0 for r in ROWS}
    slices = slices_by_field(ROWS, "language")
    one, many = (worst_slices(predictions(right, count), slices) for count in (1, 10))
    assert one is not None
    assert many is not None
    ends = [(r.worst[0].accuracy.low, r.worst[0].accuracy.high) for r in (one, many)]
    assert ends[0] == pytest.approx(ends[1], abs=1e-9)


def test_a_thousand_lotteries_of_slices_call_one_below_no_more_often_than_they_may() -> None:
    import numpy as np

    generator = np.random.default_rng(0)
    slices = slices_by(ROWS, "part", lambda each: str(int(each.transcript.id) % 5))
    alarms = 0
    for _ in range(200):
        right = dict(zip((r.transcript.id for r in ROWS), generator.random(200) < 0.8, strict=True))
        found = worst_slices(predictions(right), slices)
        assert found is not None
        alarms += any(each.is_below for each in found.worst)
    assert alarms <= 16


def test_examples_that_must_never_break() -> None:
    ours = predictions({"1": True, "2": False})
    examples = [ProtectedExample(id, BINARY.name, "yes") for id in ("1", "2", "3")]
    examples.append(ProtectedExample("1", BINARY.name, "no"))
    broken = find_breakages(ours, examples)
    assert [(each.example.transcript_id, each.reason) for each in broken] == [
        ("2", "too long"),
        ("3", "was not asked"),
        ("1", "'yes' in the place of 'no'"),
    ]
    assert find_breakages(ours, examples[:1]) == ()
