from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from descant.distillation.answer_text import read_label

LABELS = ("no", "yes", "not asked", "N.A.")


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("yes", "yes"),
        (" yes\n", "yes"),
        ("Yes.", "yes"),
        ('"yes"', "yes"),
        ("`not asked`", "not asked"),
        ("N.A.", "N.A."),
        ("n.a.", None),
        ('{"label": "yes"}', "yes"),
        ('\n{"label":"NO"}\n', "no"),
        ('{"label": "yes", "why": "…"}', None),
        ('{"answer": "yes"}', None),
        ('{"label": ["yes"]}', None),
        ('{"label": "maybe"}', None),
        ("yes, because", None),
        ("yes no", None),
        ("y", None),
        ("", None),
        ("The answer is yes", None),
        ("<think>no</think>yes", None),
    ],
)
def test_an_answer_is_a_label_or_nothing(text: str, label: str | None) -> None:
    assert read_label(text, LABELS) == label


def test_labels_that_differ_in_case_only_are_not_confused() -> None:
    assert read_label("US", ("us", "US")) == "US"
    assert read_label("Us", ("us", "US")) is None


@given(label=st.sampled_from(LABELS), text=st.text(max_size=20))
def test_every_label_is_read_as_itself_and_other_text_never_becomes_one(
    label: str, text: str
) -> None:
    assert read_label(label, LABELS) == label
    assert read_label(json.dumps({"label": label}), LABELS) == label
    found = read_label(text, LABELS)
    assert found is None or found.casefold() in text.casefold()
