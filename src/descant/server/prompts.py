"""Texts that callers send as text or as token ids, one or many."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated

from pydantic import Field

from descant.llm import LLM
from descant.schema.errors import InputError

TokenIds = Annotated[list[int], Field(min_length=1)]


def as_list(sent: str | Sequence[int] | Sequence[str | list[int]]) -> list[str | list[int]]:
    """Return what was sent as a list of texts, each a string or token ids."""
    if isinstance(sent, str):
        return [sent]
    if all(isinstance(item, int) for item in sent):
        return [[item for item in sent if isinstance(item, int)]]
    return [item for item in sent if not isinstance(item, int)]


def to_token_ids(llm: LLM, text: str | list[int], field: str) -> tuple[int, ...]:
    """Return the token ids of a text; `field` is the name it was sent under.

    Raises:
        InputError: the model knows no such token id.
    """
    if isinstance(text, str):
        return tuple(llm.tokenizer.encode(text))
    check_token_ids(llm, text, field)
    return tuple(text)


def check_token_ids(llm: LLM, token_ids: Iterable[int], field: str) -> None:
    """Refuse token ids that the model does not know.

    Raises:
        InputError: names the field they were sent under.
    """
    if not all(0 <= token_id < llm.vocab_size for token_id in token_ids):
        raise InputError(f"Token ids are 0 to {llm.vocab_size - 1}.", field=field)
