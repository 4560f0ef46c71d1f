from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from descant.distillation import Opinion, Verdict, with_verdicts
from descant.distillation.votes import count_votes
from descant.schema import LabelledTranscript
from tests.distillation.calls import transcript

SOFT = {"no": 0.25, "yes": 0.75}
labels = st.sampled_from(["no", "yes", "maybe", None])


def votes(*labels: str | None) -> list[Opinion]:
    return [Opinion(label, unanswered=None if label else "nonsense") for label in labels]


def test_one_answer_is_taken_as_it_is() -> None:
    assert count_votes([Opinion("yes", SOFT)]) == Verdict("yes", SOFT)
    assert count_votes(votes(None)) == Verdict(None, unanswered="nonsense")


def test_agreement_becomes_the_weight_and_nonsense_agrees_with_nobody() -> None:
    assert count_votes(votes("yes", "no", "yes", "yes")) == Verdict("yes", weight=0.75)
    assert count_votes(votes("yes", None, "yes")) == Verdict("yes", weight=pytest.approx(2 / 3))
    assert count_votes(votes(None, None)).unanswered == "nonsense"


@given(said=st.lists(labels, min_size=2, max_size=9), seed=st.randoms())
def test_the_order_of_votes_does_not_matter_and_ties_have_no_label(
    said: list[str | None], seed: object
) -> None:
    verdict = count_votes(votes(*said))
    assert count_votes(votes(*reversed(said))).label == verdict.label
    counts = sorted((said.count(label) for label in {*said} - {None}), reverse=True)
    if verdict.label is None:
        assert verdict.unanswered
        assert verdict.weight is None
        assert not counts or counts[0] == counts[1]
    else:
        assert said.count(verdict.label) == counts[0]
        assert verdict.weight == counts[0] / len(said)


def test_verdicts_take_the_place_of_labels_and_leave_others_alone() -> None:
    row = LabelledTranscript(
        transcript(0),
        {"polite": "no", "mood": "bad", "upsell": "yes", "greeting": "yes"},
        {"polite": {"no": 1.0}, "upsell": {"yes": 1.0}},
        {"polite": 0.5, "greeting": 0.5},
    )
    verdicts = {
        "polite": Verdict("yes", SOFT),
        "mood": Verdict("good", weight=0.6),
        "greeting": Verdict(None, unanswered="nonsense"),
        "upset": None,
    }
    labelled = with_verdicts(row, verdicts)
    assert labelled.labels == {"polite": "yes", "mood": "good", "greeting": None, "upsell": "yes"}
    assert labelled.probabilities == {"polite": SOFT, "upsell": {"yes": 1.0}}
    assert labelled.weights == {"mood": 0.6}


def test_a_label_of_people_does_not_stay_where_the_teacher_was_not_asked() -> None:
    row = LabelledTranscript(transcript(0), {"polite": "no"})
    assert with_verdicts(row, {"polite": None}).labels == {}
