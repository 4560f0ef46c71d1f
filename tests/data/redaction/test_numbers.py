from __future__ import annotations

from datetime import date, time

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from descant.data import RedactionConfig, Redactor
from descant.schema import Transcript, Turn
from tests.data.redaction.numbers_said import cards, digits_in, formatted, groups, with_check_digit

REDACTOR = Redactor()
ANSWERS = ["mm-hm", "okay", "Go ahead.", "And the next four?", "four one, yes"]


def conversation(*texts: str) -> Transcript:
    """Agent and customer in turns."""
    speakers = ("agent", "customer")
    return Transcript("1", tuple(Turn(speakers[at % 2], text) for at, text in enumerate(texts)))


def texts_of(transcript: Transcript) -> list[str]:
    return [turn.text for turn in transcript.turns]


def redacted(*texts: str) -> list[str]:
    return texts_of(REDACTOR.redact(conversation(*texts)).transcript)


@given(data=st.data(), card=cards(), lead=st.sampled_from(["", "It's ", "Visa: ", "No. 7: "]))
def test_no_card_survives_in_any_formatting(data: st.DataObject, card: str, lead: str) -> None:
    parts = data.draw(formatted(card))
    assert digits_in(parts) == card
    said = ["Sure."]
    for at, part in enumerate(parts):
        said += [data.draw(st.sampled_from(ANSWERS))] if at else []
        said.append((lead if at == 0 else "") + part)
    turns = tuple(Turn("ab"[at % 2], text) for at, text in enumerate(said))
    clean = REDACTOR.redact(Transcript("1", turns)).transcript
    assert card not in digits_in([turn.text for turn in clean.turns if turn.speaker == "b"])
    assert clean.turns[1].text.startswith(lead.rstrip())


@given(data=st.data(), digits=st.text("0123456789", min_size=12, max_size=18))
def test_a_number_alone_with_the_check_digit_of_a_card_does_not_survive(
    data: st.DataObject, digits: str
) -> None:
    number = with_check_digit(digits)
    assume(len(set(number)) > 1)
    (clean,) = redacted(" ".join(data.draw(groups(number))))
    # One in ten is a Mexican account too.
    assert clean in ("[CARD_1]", "[ACCOUNT_1]")


@pytest.mark.parametrize(
    ("said", "clean"),
    [
        ("It's 4111 1111 1111 1111, 12/26.", "It's [CARD_1], 12/26."),
        ("forty-one eleven eleven eleven 1111 double one double one", "[CARD_1]"),
        ("four one one one, uh, and then 1111 dash 1111 1111 thanks", "[CARD_1] thanks"),
        # Speech recognition got a digit wrong; the words say what it is.
        ("my card number is 4111 1111 1111 1112", "my card number is [CARD_1]"),
        ("The CVV is 123.", "The CVV is [SECRET_1]."),
        ("my pin is four two four two ok?", "my pin is [SECRET_1] ok?"),
        ("(415) 555-2671 or +49 30 901820", "[PHONE_1] or [PHONE_2]"),
        ("Ring me on 020 7946 0958", "Ring me on [PHONE_1]"),
        ("call me: four one five, five five five, two six seven one", "call me: [PHONE_1]"),
        ("plus four four seven seven double zero nine double oh one two three", "plus [PHONE_1]"),
        ("4155552671", "[PHONE_1]"),
        ("1-415-555-2671, I repeat: 415.555.2671", "[PHONE_1], I repeat: [PHONE_1]"),
        ("SSN 078-05-1120", "SSN [SSN_1]"),
        ("my social is oh seven eight oh five eleven twenty", "my social is [SSN_1]"),
        ("routing number 021000021", "routing number [ROUTING_1]"),
        ("My account number is 35894624.", "My account number is [ACCOUNT_1]."),
        ("and my account is still 35894624?", "and my account is still [ACCOUNT_1]?"),
        ("CLABE 032180000118359719", "CLABE [ACCOUNT_1]"),
        ("sort code 20-00-00", "sort code [ACCOUNT_1]"),
    ],
)
def test_numbers_that_are_personal(said: str, clean: str) -> None:
    assert redacted(said) == [clean]


@pytest.mark.parametrize(
    "said",
    [
        "Your order 4827193046 ships on 2024-01-15 between 10:30 and 12:45.",
        "Order number 123-4567890-1234567, that was $1,299.00 plus 20 % tax.",
        "tracking number 1Z 999 AA1 01 2345 6784",
        "It was 12.50 euros, 3 for 2, and 1,000,000 points.",
        "I called at 9 am on 01/02/2024, on 3.4.24 and on January 5th, 2023.",
        "Ticket 20240115123456, booking reference 987654321, invoice 2024001234.",
        "Room 4111, gate 11, flight 1111.",
        "one of them, two or three days, twenty twenty four",
        "Our rate is 1.5 % from 2023 to 2025, 2026 and 27.",
        "The claim number is four one five five five five two six seven one.",
        "zip 94103-1234",
        "My account has 1500000 points and 250000 euros.",
        "4711",
        "What's your PIN, do you have 3 cards?",
    ],
)
def test_ordinary_numbers_are_left_alone(said: str) -> None:
    before = conversation(said)
    assert REDACTOR.redact(before).transcript is before


@given(
    order=st.integers(1, 10**12),
    cents=st.integers(0, 10**7),
    day=st.dates(date(1980, 1, 1), date(2060, 1, 1)),
    hour=st.times(),
    day_format=st.sampled_from(["%Y-%m-%d", "%d.%m.%Y", "%m/%d/%y", "%B %d, %Y", "%d-%m-%Y"]),
)
def test_orders_prices_dates_and_times_are_left_alone(
    order: int, cents: int, day: date, hour: time, day_format: str
) -> None:
    before = conversation(
        "What's your order number?",
        f"It's {order}.",
        f"Order {order}, ${cents / 100:,.2f}, from {day:{day_format}} at {hour:%H:%M}.",
        f"{cents / 100:.2f} euros? On {day:{day_format}}?",
    )
    assert REDACTOR.redact(before).transcript is before


def test_an_answer_is_what_was_asked_for() -> None:
    assert redacted("Your account number?", "Sure, one sec.", "No rush.", "It's 3589 4624") == [
        "Your account number?",
        "Sure, one sec.",
        "No rush.",
        "It's [ACCOUNT_1]",
    ]
    asked = ("And your order number?", "35894624")
    assert redacted(*asked) == list(asked)


def test_a_number_read_out_in_parts_is_one_number() -> None:
    assert redacted(
        *("What's the card number?", "4111 1111", "mm-hm", "eleven eleven", "okay"),
        *("one one one one", "So that's 4111111111111111?"),
    ) == [
        *("What's the card number?", "[CARD_1]", "mm-hm", "[CARD_1]", "okay"),
        *("[CARD_1]", "So that's [CARD_1]?"),
    ]


def test_another_number_that_is_asked_for_is_no_part() -> None:
    said = ["Account number?", "35894624", "And how many orders?", "12 34"]
    assert redacted(*said) == [said[0], "[ACCOUNT_1]", *said[2:]]


def test_kinds_that_are_off_stay() -> None:
    phones = Redactor(RedactionConfig(kinds=("phone",)))
    said = conversation("4111 1111 1111 1111, 415-555-2671")
    assert texts_of(phones.redact(said).transcript) == ["4111 1111 1111 1111, [PHONE_1]"]
