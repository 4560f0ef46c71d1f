"""Ids that only their own tenant can use."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from descant.gateway.batches.owner_tags import Kind, OwnerTags
from descant.schema.errors import GarbledAnswer, InvalidConfig, NotFound

SECRET = "s" * 32
RAW = st.from_regex(r"[A-Za-z0-9_-]{1,128}", fullmatch=True)
KINDS = st.sampled_from(["file", "batch"])


@given(KINDS, st.text(), RAW)
def test_its_owner_gets_back_what_was_shown(kind: Kind, tenant: str, raw: str) -> None:
    tags = OwnerTags(SECRET, "own")
    assert tags.raw(kind, tenant, tags.shown(kind, tenant, raw)) == raw


@given(st.text(), st.text(), RAW)
def test_nobody_else_gets_anything(tenant: str, other: str, raw: str) -> None:
    assume(tenant != other)
    tags = OwnerTags(SECRET, "own")
    shown = tags.shown("file", tenant, raw)
    for reader, kind, who in (
        (tags, "file", other),
        (tags, "batch", tenant),
        (OwnerTags(SECRET, "elsewhere"), "file", tenant),
        (OwnerTags("t" * 32, "own"), "file", tenant),
    ):
        with pytest.raises(NotFound):
            reader.raw(kind, who, shown)  # type: ignore[arg-type]
    assert tags.mark(tenant) != tags.mark(other)


@given(RAW, st.integers(min_value=0), st.characters())
def test_a_changed_id_is_no_id(raw: str, place: int, letter: str) -> None:
    tags = OwnerTags(SECRET, "own")
    shown = tags.shown("file", "quality", raw)
    place %= len(shown)
    changed = shown[:place] + letter + shown[place + 1 :]
    assume(changed != shown)
    with pytest.raises(NotFound):
        tags.raw("file", "quality", changed)


@given(st.text())
def test_any_text_is_no_id(text: str) -> None:
    with pytest.raises(NotFound):
        OwnerTags(SECRET, "own").raw("file", "quality", text)


@pytest.mark.parametrize("raw", ["", "../keys", "a b", "a\n", "ä", "x" * 129])
def test_an_upstream_s_id_that_leads_elsewhere_is_not_shown(raw: str) -> None:
    with pytest.raises(GarbledAnswer):
        OwnerTags(SECRET, "own").shown("file", "quality", raw)


def test_a_short_secret_is_none() -> None:
    with pytest.raises(InvalidConfig):
        OwnerTags("s" * 31, "own")
