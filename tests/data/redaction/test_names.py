from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from descant.data import RedactionConfig, Redactor
from descant.schema import Transcript, Turn
from tests.data.redaction.test_numbers import redacted


def lines(*turns: tuple[str, str], roles: tuple[str, ...] = ()) -> list[str]:
    transcript = Transcript("1", tuple(Turn(*turn) for turn in turns))
    clean = Redactor(RedactionConfig(roles=roles)).redact(transcript).transcript
    return [f"{turn.speaker}: {turn.text}" for turn in clean.turns]


def test_names_of_the_speaker_column_go_everywhere() -> None:
    assert lines(
        ("Agent Maria", "Thank you for calling, Mr Lopez."),
        ("Juan Lopez", "Hi MARIA. Juan, not Jon. L-O-P-E-Z."),
    ) == [
        "Agent [NAME_1]: Thank you for calling, Mr [NAME_2].",
        "[NAME_2]: Hi [NAME_1]. [NAME_2], not Jon. [NAME_2].",
    ]


@pytest.mark.parametrize(
    "speaker",
    [
        "agent",
        "Customer 1",
        "SPEAKER_00",
        "spk_1",
        "IVR",
        "Customer Service",
        "A",
        "",
        "Kunde",
        "3",
    ],
)
def test_roles_are_no_names(speaker: str) -> None:
    assert lines((speaker, "Hello.")) == [f"{speaker}: Hello."]


def test_further_roles_can_be_given() -> None:
    assert lines(("Pit boss", "Hello.")) == ["[NAME_1] boss: Hello."]
    assert lines(("Pit boss", "Hello."), roles=("pit",)) == ["Pit boss: Hello."]


@pytest.mark.parametrize(
    ("said", "clean"),
    [
        (["My name is Maureen Tansley. Maureen."], ["My name is [NAME_1]. [NAME_1]."]),
        (
            ["my name is maria and i call", "hi maria"],
            ["my name is [NAME_1] and i call", "hi [NAME_1]"],
        ),
        (["Jamie here.", "Jamie. Right."], ["[NAME_1] here.", "[NAME_1]. Right."]),
        (["Hi, this is Mo.", "Hi Mo!"], ["Hi, this is [NAME_1].", "Hi [NAME_1]!"]),
        (["Mrs Sparrow, the sparrow flew."], ["Mrs [NAME_1], the sparrow flew."]),
        (["My name's Will. Will you call?"], ["My name's [NAME_1]. Will you call?"]),
        (["You're speaking with Noor O'Brien-Li."], ["You're speaking with [NAME_1]."]),
        (
            ["my name is will", "thanks will, it will do"],
            ["my name is [NAME_1]", "thanks [NAME_1], it will do"],
        ),
    ],
)
def test_introductions_and_forms_of_address(said: list[str], clean: list[str]) -> None:
    assert redacted(*said) == clean


@pytest.mark.parametrize(
    "said",
    [
        ["My name is on the account.", "The name is spelled wrong."],
        ["This is Ridiculous.", "Ridiculous prices, really."],
        ["Hello, this is Fenland Broadband.", "Is that Fenland Broadband there?"],
        ["I'm Sorry.", "Sorry, what?"],
        ["Generally speaking, this is fine.", "Fine."],
        ["I miss my old phone.", "Miss what?"],
    ],
)
def test_what_is_no_name_is_left_alone(said: list[str]) -> None:
    assert redacted(*said) == said


@given(st.from_regex(r"[A-Z][a-z]{3,8}", fullmatch=True))
def test_no_name_of_a_speaker_survives(name: str) -> None:
    said = [f"{name}?", f"Yes, {name.upper()} speaking.", f"Thanks, {name}'s card, {name}."]
    clean = lines(*[(f"Agent {name}x", text.replace(name, f"{name}x")) for text in said])
    assert not any(f"{name}x".casefold() in line.casefold() for line in clean)
