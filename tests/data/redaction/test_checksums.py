"""Published examples: ISO/IEC 7812-1 (Luhn), the SWIFT IBAN registry, test cards of the networks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from descant.data.redaction.checksums import (
    could_be_card,
    is_bank_account,
    is_iban,
    is_issued_card,
    is_routing_number,
    is_social_security_number,
    luhn,
)
from tests.data.redaction.numbers_said import with_check_digit


def test_luhn_gives_the_published_check_digit() -> None:
    # The standard's own example: 7992739871 has the check digit 3.
    assert [digit for digit in "0123456789" if luhn("7992739871" + digit)] == ["3"]


@given(st.text("0123456789", min_size=12, max_size=18), st.integers(1, 9), st.data())
def test_luhn_sees_every_single_wrong_digit(digits: str, shift: int, data: st.DataObject) -> None:
    right = with_check_digit(digits)
    assert luhn(right)
    at = data.draw(st.integers(0, len(right) - 1))
    assert not luhn(right[:at] + str((int(right[at]) + shift) % 10) + right[at + 1 :])


@pytest.mark.parametrize(
    "card",
    [
        "4111111111111111",
        "4222222222222",
        "5555555555554444",
        "2223003122003222",
        "378282246310005",
        "30569309025904",
        "3530111333300000",
        "6011111111111117",
        "6304000000000000",
        "6200000000000005",
    ],
)
def test_test_cards_of_the_networks_are_issued(card: str) -> None:
    assert is_issued_card(card)
    assert not is_issued_card(card[:-1] + str((int(card[-1]) + 1) % 10))


@pytest.mark.parametrize("digits", ["0000000000000000", "411111111111", "41111111111111111111"])
def test_zeros_and_other_lengths_are_no_cards(digits: str) -> None:
    assert not could_be_card(digits)


@pytest.mark.parametrize(
    "iban",
    [
        "AL47212110090000000235698741",
        "BE68539007547034",
        "DE89370400440532013000",
        "FR1420041010050500013M02606",
        "GB29NWBK60161331926819",
        "MT84MALT011000012345MTLCAST001S",
        "NO9386011117947",
        "SA0380000000608010167519",
        "CH9300762011623852957",
    ],
)
def test_ibans_of_the_registry_are_right_and_their_neighbours_are_not(iban: str) -> None:
    assert is_iban(iban)
    assert not is_iban(iban[:-1])
    wrong = "1" if iban[-1] == "0" else "0"
    assert not is_iban(iban[:-1] + wrong)


@pytest.mark.parametrize(
    ("digits", "is_right"),
    # Federal Reserve banks of Boston and New York; a wrong digit; no such prefix.
    [("011000015", True), ("021001208", True), ("011000016", False), ("991000015", False)],
)
def test_routing_numbers(digits: str, is_right: bool) -> None:
    assert is_routing_number(digits) is is_right


@pytest.mark.parametrize(
    ("digits", "is_right"),
    # The example of Mexico's central bank; the account part of the registry's Spanish IBAN.
    [
        ("032180000118359719", True),
        ("032180000118359718", False),
        ("21000418450200051332", True),
        ("21000418460200051332", False),
        ("1234567890", False),
    ],
)
def test_accounts_with_check_digits(digits: str, is_right: bool) -> None:
    assert is_bank_account(digits) is is_right


@pytest.mark.parametrize(
    ("digits", "is_right"),
    [
        ("078051120", True),
        ("000121234", False),
        ("666121234", False),
        ("900121234", False),
        ("123004567", False),
        ("123450000", False),
    ],
)
def test_social_security_numbers(digits: str, is_right: bool) -> None:
    assert is_social_security_number(digits) is is_right
