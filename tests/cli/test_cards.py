from __future__ import annotations

import io

from rich.console import Console

from descant.cli.cards import scorecard_table
from descant.schema import AdapterRef, Answer, Scorecard, Usage, unanswered

REF = AdapterRef("polite", "sha256:1")
CARD = Scorecard(
    "call-1",
    (
        Answer("polite", "yes", {"no": 0.25, "yes": 0.75}, 0.75, REF),
        Answer("mood", "bad", {"bad": 1.0, "good": 0.0}, 1.0, REF),
        unanswered("upsell", "[no] adapter is loaded for it."),
    ),
    Usage(2031, 118000, 0.912),
)


def text_of(card: Scorecard, expected: dict[str, str | None] | None = None) -> list[str]:
    stream = io.StringIO()
    Console(file=stream, width=100).print(scorecard_table(card, expected))
    return stream.getvalue().splitlines()


def row(lines: list[str], name: str) -> str:
    return next(line for line in lines if f" {name} " in line)


def test_answers_have_a_bar_as_long_as_they_are_probable() -> None:
    lines = text_of(CARD)
    assert "Scorecard of call-1" in lines[0]
    assert "█████████░░░  75%" in row(lines, "polite")
    assert "████████████ 100%" in row(lines, "mood")


def test_what_is_unanswered_says_why() -> None:
    line = row(text_of(CARD), "upsell")
    assert "unanswered" in line
    assert "[no] adapter is loaded for it." in line
    assert "%" not in line


def test_usage_is_told() -> None:
    assert "2,031 tokens read, 118,000 shared, 0.91 s" in text_of(CARD)[-1]


def test_answers_are_marked_where_people_gave_one() -> None:
    lines = text_of(CARD, {"polite": "yes", "mood": "good", "upsell": None})
    assert "✓ yes" in row(lines, "polite")
    assert "✗ good" in row(lines, "mood")
    assert "✓" not in row(lines, "upsell")
    assert "✗" not in row(lines, "upsell")
