from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from descant.adapters import AdapterName
from descant.adapters.adapter_name import check_new_name
from descant.schema.errors import AdapterNotFound, InvalidAdapter

VERSIONS = st.none() | st.text("0123456789abcdef", min_size=8, max_size=64).map("sha256:".__add__)


@given(st.text(min_size=1).filter(lambda text: "@sha256:" not in text), VERSIONS)
def test_what_is_written_is_read_back(name: str, version: str | None) -> None:
    asked = AdapterName(name, version)
    assert AdapterName.parse(str(asked)) == asked


@pytest.mark.parametrize("digits", ["", "1234567", "ABCDEF12", "123456789 ", "g" * 8, "a" * 65])
def test_a_version_that_cannot_be_one_is_not_found(digits: str) -> None:
    with pytest.raises(AdapterNotFound, match="8 to 64 hexadecimal digits"):
        AdapterName.parse(f"empathy@sha256:{digits}")


def test_a_version_of_no_name_is_not_found() -> None:
    with pytest.raises(AdapterNotFound):
        AdapterName.parse("@sha256:0123456789")


def test_other_signs_belong_to_the_name() -> None:
    assert AdapterName.parse("team/empathy@v2") == AdapterName("team/empathy@v2")


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "a\0", "x" * 257, "a@sha256:01234567"])
def test_a_new_name_must_be_writable_and_no_version(name: str) -> None:
    with pytest.raises(InvalidAdapter) as caught:
        check_new_name(name)
    assert caught.value.field == "lora_name"
