from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from descant.schema.errors import InputError
from descant.server.batches.upload import Upload

TYPE = "multipart/form-data; boundary=edge"


def form(content: bytes, filename: str, purpose: str) -> bytes:
    return (
        b'--edge\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n'
        + purpose.encode()
        + b'\r\n--edge\r\nContent-Disposition: form-data; name="file"; filename="'
        + filename.encode()
        + b'"\r\nContent-Type: application/jsonl\r\n\r\n'
        + content
        + b"\r\n--edge--\r\n"
    )


@given(
    st.binary(max_size=300).filter(lambda content: b"\r\n--edge" not in b"\r\n" + content),
    st.text("aé日 .", max_size=10),
    st.lists(st.integers(min_value=1, max_value=50), max_size=30),
)
def test_however_a_body_is_cut_the_file_is_the_same(
    content: bytes, filename: str, cuts: list[int]
) -> None:
    body, written = form(content, filename, "batch"), bytearray()
    upload = Upload(TYPE, written.extend)
    for cut in cuts:
        upload.feed(body[:cut])
        body = body[cut:]
    upload.feed(body)
    found = upload.finish()
    assert bytes(written) == content
    assert (found.filename, found.fields) == (filename, {"purpose": "batch"})


@given(st.binary(max_size=200))
def test_no_body_breaks_the_reader(body: bytes) -> None:
    upload = Upload(TYPE, lambda _: None)
    with pytest.raises(InputError):
        upload.feed(body)
        upload.finish()


def test_a_body_that_ends_early_is_not_a_file() -> None:
    body = form(b"content", "a", "batch")
    upload = Upload(TYPE, lambda _: None)
    upload.feed(body[:-6])
    with pytest.raises(InputError, match="ends early"):
        upload.finish()


def test_fields_are_short_and_few() -> None:
    part = b'--edge\r\nContent-Disposition: form-data; name="f%d"\r\n\r\nx\r\n'
    upload = Upload(TYPE, lambda _: None)
    with pytest.raises(InputError, match="too many"):
        upload.feed(b"".join(part % number for number in range(20)))
