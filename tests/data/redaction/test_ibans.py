from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data.redaction.test_numbers import redacted

# Examples of the SWIFT registry.
IBANS = ["DE89370400440532013000", "GB29NWBK60161331926819", "BE68539007547034"]


@given(iban=st.sampled_from(IBANS), data=st.data())
def test_no_grouping_hides_an_iban(iban: str, data: st.DataObject) -> None:
    cuts = data.draw(st.sets(st.integers(2, len(iban) - 1)))
    cuts |= {at for at in range(4, 8) if iban[at].isalpha()} if data.draw(st.booleans()) else set()
    pieces = [iban[a:b] for a, b in zip([0, *sorted(cuts)], [*sorted(cuts), None], strict=True)]
    said = data.draw(st.sampled_from([" ", "-", "  "])).join(pieces)
    said = said.lower() if data.draw(st.booleans()) else said
    assert redacted(f"It is {said}, thanks.") == ["It is [IBAN_1], thanks."]


@pytest.mark.parametrize(
    "said",
    [
        "DE90 3704 0044 0532 0130 00",
        "We meet at 20 past, it is 10 or 12 of us in all by 18 at 10, so at 1 or 2.",
        "DE 20 percent",
        "is 2 ok",
    ],
)
def test_what_has_the_wrong_check_digits_is_left_alone(said: str) -> None:
    assert redacted(said) == [said]


def test_one_that_is_called_so_needs_no_right_check_digits() -> None:
    assert redacted("My IBAN is DE90 3704 0044 0532 0130 00") == ["My IBAN is [IBAN_1]"]


def test_an_iban_may_be_spelled_and_read_out_in_parts() -> None:
    assert redacted(
        "D E eight nine, 3704", "yes", "0044 oh five three two", "go on", "0130 00"
    ) == [*("[IBAN_1]", "yes", "[IBAN_1]", "go on", "[IBAN_1]")]
