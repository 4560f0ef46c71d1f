from __future__ import annotations

from hypothesis import given

from descant.data import draft_indicators
from descant.data.indicator_drafts import ordered_labels
from descant.schema import Indicator, LabelledTranscript
from tests.data.rows import call, many_rows


def drafted(name: str, *labels: str | None) -> Indicator | str:
    """Return the indicator made of these labels, or why there is none."""
    rows = [call(str(at), labels={name: label}) for at, label in enumerate(labels)]
    drafts = draft_indicators(rows)
    return drafts.indicators[0] if drafts.indicators else drafts.refused[name]


def test_a_name_becomes_a_question() -> None:
    assert drafted("refund_offered", "yes", "no", None) == Indicator(
        name="refund_offered",
        question="Refund offered?",
        labels=("no", "yes"),
        positive=("yes",),
        kind="binary",
        adapter="refund_offered",
    )


def test_numbers_are_in_order() -> None:
    score = drafted("score", "10", "9", "1")
    assert isinstance(score, Indicator)
    assert (score.labels, score.kind) == (("1", "9", "10"), "ordinal")
    assert ordered_labels(["b", "A", "10", "9"]) == ["10", "9", "A", "b"]


def test_what_is_no_indicator_says_why() -> None:
    assert drafted("greeting", "yes", "yes") == (
        "All 2 labels are 'yes'; there is nothing to tell apart."
    )
    assert "12 different labels in 12 conversations" in str(drafted("reason", *map(str, range(12))))
    assert "For example: refund_offered." in str(drafted("Refund Offered?", "yes", "no"))
    assert "For example: indicator." in str(drafted("42", "yes", "no"))
    assert "empty label or one with space" in str(drafted("greeting", "yes ", "no"))


def test_many_labels_that_come_again_are_a_choice() -> None:
    labels = [str(at % 12) for at in range(36)]
    assert isinstance(drafted("intent", *labels), Indicator)


@given(many_rows)
def test_every_label_name_is_drafted_or_refused(rows: list[LabelledTranscript]) -> None:
    drafts = draft_indicators(rows)
    names = {name for row in rows for name, label in row.labels.items() if label is not None}
    assert {one.name for one in drafts.indicators} | set(drafts.refused) == names
    for indicator in drafts.indicators:
        given_labels = {row.labels.get(indicator.name) for row in rows} - {None}
        assert set(indicator.labels) == given_labels
