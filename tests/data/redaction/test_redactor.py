from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from descant.data import REDACTION_KINDS, RedactionConfig, Redactor, redact_rows
from descant.schema import LabelledTranscript, Transcript, Turn
from descant.schema.errors import InvalidConfig
from tests.data.redaction.test_numbers import conversation, redacted
from tests.data.rows import call, rows

_SAID = st.sampled_from(
    [
        *(
            "4111",
            "1111",
            "11",
            "1111111111111111",
            "four",
            "one",
            "double",
            "eleven",
            "oh",
            "plus",
        ),
        *("415-555-2671", "078-05-1120", "021000021", "DE89", "3704", "0044", "0532", "0130", "00"),
        *(
            "my card",
            "account number",
            "order",
            "call me",
            "pin",
            "my name is",
            "this is",
            "Mr",
            "Maria",
        ),
        *(
            "Will",
            "maria",
            "lopez",
            "speaking",
            "thanks",
            "jane@example.com",
            "jane",
            "at",
            "gmail",
        ),
        *("dot", "com", "[CARD_1]", "[NAME_7]", ".", ",", "-", ":", "$", "?", "2024-01-15", "\n"),
    ]
)
_TEXTS = st.lists(_SAID, max_size=12).map(lambda said: " ".join(["so", *said]))
_TURNS = st.builds(
    Turn, st.sampled_from(["agent", "customer", "Maria Lopez", "Will", "+1 415 555 2671"]), _TEXTS
)
_CALLS = st.lists(_TURNS, min_size=1, max_size=5).map(lambda turns: Transcript("1", tuple(turns)))


@given(_CALLS)
def test_redacting_again_changes_nothing(transcript: Transcript) -> None:
    once = Redactor().redact(transcript).transcript
    again = Redactor().redact(once)
    assert again.transcript is once
    assert again.counts == {}


@given(rows())
def test_any_text_can_be_redacted_and_keeps_its_turns(row: LabelledTranscript) -> None:
    redacted_row = Redactor().redact(row.transcript)
    assert len(redacted_row.transcript.turns) == len(row.transcript.turns)
    assert redacted_row.transcript.id == row.transcript.id
    if not redacted_row.counts:
        assert redacted_row.transcript is row.transcript


def test_the_same_value_has_the_same_number_and_the_next_conversation_counts_anew() -> None:
    said = "jane@example.com, john@example.com, JANE@example.com"
    assert redacted(said) == ["[MAIL_1], [MAIL_2], [MAIL_1]"]
    assert redacted("john@example.com") == ["[MAIL_1]"]


def test_numbers_go_on_after_placeholders_that_are_there() -> None:
    assert redacted("[MAIL_3] and jane@example.com") == ["[MAIL_3] and [MAIL_4]"]


def test_the_report_counts_and_names_no_value() -> None:
    found = [
        call("1", "4111 1111 1111 1111", "4111111111111111", labels={"polite": "yes"}),
        call("jane@example.com", "Hello."),
        call("3", "jane@example.com, 5555555555554444"),
    ]
    clean, report = redact_rows(found, Redactor())
    assert [row.labels for row in clean] == [row.labels for row in found]
    assert (report.conversations, report.changed, report.personal_ids) == (3, 2, 1)
    assert report.counts == {"card": 2, "mail": 1}
    assert "jane" not in repr(report)


def test_values_do_not_show_in_the_findings() -> None:
    (finding,) = Redactor()._find(conversation("jane@example.com").turns)
    assert "jane" not in repr(finding)


@pytest.mark.parametrize("kinds", [(), ("card", "cards")])
def test_unknown_kinds_are_refused(kinds: tuple[str, ...]) -> None:
    with pytest.raises(InvalidConfig, match="ind") as caught:
        RedactionConfig(kinds=kinds)
    assert caught.value.remedy is not None
    assert ", ".join(REDACTION_KINDS) in caught.value.remedy
