from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from descant.text import Detokenizer, Tokenizer
from tests.text.small import metaspace_description, small_tokenizer

BYTE_LEVEL = small_tokenizer()
METASPACE = Tokenizer(metaspace_description(), {})


def stream(tokenizer: Tokenizer, ids: list[int]) -> list[str]:
    detokenizer = Detokenizer(tokenizer)
    return [*(detokenizer.push(token_id) for token_id in ids), detokenizer.finish()]


@given(st.lists(st.integers(0, BYTE_LEVEL.vocab_size + 1), max_size=30))
def test_pieces_make_up_the_whole_with_bytes_in_any_order(ids: list[int]) -> None:
    assert "".join(stream(BYTE_LEVEL, ids)) == BYTE_LEVEL.decode(ids)


@given(st.lists(st.integers(0, METASPACE.vocab_size + 1), max_size=30))
@example([5, 0, 133])  # a byte, a special token, a byte that makes the first one invalid
@example(METASPACE.encode("hello") + METASPACE.encode("é") + [METASPACE.token_id("<0xF0>") or 0])
def test_pieces_make_up_the_whole_with_spaces_between_tokens(ids: list[int]) -> None:
    assert "".join(stream(METASPACE, ids)) == METASPACE.decode(ids)


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ufffd")))
def test_no_piece_holds_half_a_character(text: str) -> None:
    pieces = stream(BYTE_LEVEL, BYTE_LEVEL.encode(text))
    assert "".join(pieces) == text
    assert not any("\ufffd" in piece for piece in pieces)


def test_a_character_comes_with_its_last_token() -> None:
    pieces = stream(BYTE_LEVEL, BYTE_LEVEL.encode("😀"))
    assert pieces == ["", "", "", "😀", ""]


def test_an_unfinished_character_is_given_at_the_end() -> None:
    assert stream(BYTE_LEVEL, BYTE_LEVEL.encode("😀")[:2]) == ["", "", "\ufffd"]
