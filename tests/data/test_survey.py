from __future__ import annotations

import sys
import types

import pytest

from descant.data import Finding, survey
from descant.data.languages import count_languages
from descant.schema.errors import MissingDependency
from tests.data.rows import call, yes_no

ROWS = [
    call("short", "Hello.", labels={"greeting": "yes"}),
    call("middle", "Hello.", "Hi.", labels={"greeting": "no"}),
    call("long", "Hello.", "Hi.", "So."),
]


@pytest.fixture
def without_languages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "py3langid", None)


@pytest.mark.usefixtures("without_languages")
def test_conversations_are_looked_at_one_finding_a_line() -> None:
    assert survey(ROWS, [yes_no("greeting")], [10, 20, 90], 80) == [
        Finding("conversations", "3, of 1 to 3 turns; speakers 'agent', 'customer'"),
        Finding("lengths", "median 20 tokens, 95 % up to 83, longest 90 (long)"),
        Finding("too long", "the model reads 80 tokens; split or leave out 1: long"),
        Finding("languages", "not looked at. Install it: pip install 'descant[languages]'"),
        Finding("no label", "1: long"),
        Finding("greeting", "few conversations to learn from: 'no' 1, 'yes' 1"),
    ]


@pytest.mark.usefixtures("without_languages")
def test_a_single_conversation_is_looked_at_too() -> None:
    found = {finding.topic: finding.text for finding in survey(ROWS[:1], [], [10], 80)}
    assert found["lengths"] == "median 10 tokens, 95 % up to 10, longest 10 (short)"
    assert "too long" not in found


@pytest.mark.usefixtures("without_languages")
def test_languages_without_the_package_say_how_to_get_it() -> None:
    with pytest.raises(MissingDependency, match=r"descant\[languages\]"):
        count_languages(ROWS)


def test_languages_are_counted_by_conversation() -> None:
    pytest.importorskip("py3langid")
    rows = [
        call("1", "Good morning, I would like to ask about the invoice that came yesterday."),
        call("2", "Guten Morgen, ich habe eine Frage zu der Rechnung von gestern."),
        call("3", "I have been waiting for the parcel since last week, where is it now?"),
    ]
    assert count_languages(rows) == {"en": 2, "de": 1}


def test_only_the_beginning_of_a_conversation_is_read_for_its_language(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[str] = []

    def classify(text: str) -> tuple[str, float]:
        seen.append(text)
        return "en", -1.0

    monkeypatch.setitem(
        sys.modules,
        "py3langid",
        types.SimpleNamespace(classify=classify),  # type: ignore[arg-type]
    )
    assert count_languages([call("1", "word " * 5000)]) == {"en": 1}
    assert len(seen[0]) == 2000
