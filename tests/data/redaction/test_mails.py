from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data.redaction.test_numbers import redacted

_LOCAL = st.from_regex(r"[a-z0-9]([a-z0-9._+-]{0,20}[a-z0-9])?", fullmatch=True)
_DOMAIN = st.from_regex(
    r"[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?\.(com|org|co\.uk|museum)", fullmatch=True
)


@given(local=_LOCAL, domain=_DOMAIN)
def test_written_addresses_do_not_survive(local: str, domain: str) -> None:
    said = f"Write to {local}@{domain}. Thanks, or <{local.upper()}@{domain}>"
    assert redacted(said) == ["Write to [MAIL_1]. Thanks, or <[MAIL_1]>"]


@pytest.mark.parametrize(
    ("said", "clean"),
    [
        ("it's jane dot doe at gmail dot com", "it's [MAIL_1]"),
        ("j d o e at mail dot example dot co dot uk okay", "[MAIL_1] okay"),
        ("jane underscore doe 92 at example.org", "[MAIL_1]"),
        ("my email is jane at example dot com", "my email is [MAIL_1]"),
        ("jane@example.com, Jane at example dot com", "[MAIL_1], [MAIL_1]"),
    ],
)
def test_addresses_that_are_said(said: str, clean: str) -> None:
    assert redacted(said) == [clean]


@pytest.mark.parametrize(
    "said",
    [
        "Have a look at example dot com.",
        "I was at home at 5, e-mail me.",
        "3 @ 5 euros each",
        "follow us @descant",
        "It's at the corner. Com on!",
    ],
)
def test_pages_and_places_are_left_alone(said: str) -> None:
    assert redacted(said) == [said]
