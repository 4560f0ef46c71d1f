"""A place in a caller's request, and how it is refused by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from descant.schema.errors import InputError, UnsupportedField


def unsupported(field: str) -> NoReturn:
    """Refuse what is right in itself but cannot be said to this upstream."""
    raise UnsupportedField(
        f"{field} cannot be expressed to this upstream.",
        field=field,
        remedy="Leave it out, or ask a model that is served by another kind of upstream.",
    )


def wrong(field: str, wanted: str) -> NoReturn:
    """Refuse what OpenAI's API would refuse as well."""
    raise InputError(f"{field} must be {wanted}.", field=field)


def as_object(value: Any, field: str) -> Mapping[str, Any]:
    """Return the value, an object.

    Raises:
        InputError: it is none.
    """
    return value if isinstance(value, dict) else wrong(field, "an object")


def as_list(value: Any, field: str) -> list[Any]:
    """Return the value, a list.

    Raises:
        InputError: it is none.
    """
    return value if isinstance(value, list) else wrong(field, "a list")


def as_text(value: Any, field: str) -> str:
    """Return the value, a text.

    Raises:
        InputError: it is none.
    """
    return value if isinstance(value, str) else wrong(field, "a text")


def only(value: Mapping[str, Any], known: Iterable[str], field: str) -> None:
    """Refuse every key that says something and is not among the known ones.

    Raises:
        UnsupportedField: names the first.
    """
    allowed = frozenset(known)
    for key, said in value.items():
        if key not in allowed and said not in (None, [], {}):
            unsupported(f"{field}.{key}" if field else key)
