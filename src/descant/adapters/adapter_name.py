"""What a caller calls an adapter: ``empathy``, or one version of it, ``empathy@sha256:3fa94b21``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from descant.schema.errors import AdapterNotFound, InvalidAdapter

_MARK = "@sha256:"
_DIGITS = re.compile(r"[0-9a-f]{8,64}")
_LONGEST = 256


@dataclass(frozen=True)
class AdapterName:
    """A name, and the version that is meant where it is not the current one."""

    name: str
    version: str | None = None
    """``sha256:…``, the content hash or the beginning of it; None: whichever is current."""

    @classmethod
    def parse(cls, text: str) -> AdapterName:
        """Read ``name`` or ``name@sha256:digits``.

        Raises:
            AdapterNotFound: what follows the mark is not 8 to 64 hexadecimal digits.
        """
        name, mark, digits = text.rpartition(_MARK)
        if not mark:
            return cls(text)
        if not name or _DIGITS.fullmatch(digits) is None:
            raise AdapterNotFound(
                f"No adapter {text[:_LONGEST]!r}.",
                field="adapter",
                remedy=f"A version is written name{_MARK} and 8 to 64 hexadecimal digits.",
            )
        return cls(name, f"sha256:{digits}")

    def __str__(self) -> str:
        return self.name if self.version is None else f"{self.name}@{self.version}"


def check_new_name(name: str) -> None:
    """Refuse what could not be told from a version of another name, or not be written in a line.

    Raises:
        InvalidAdapter: names the field ``lora_name``.
    """
    if not name.strip() or not name.isprintable() or len(name) > _LONGEST or _MARK in name:
        raise InvalidAdapter(
            f"{name[:_LONGEST]!r} cannot be the name of an adapter.",
            field="lora_name",
            remedy=f"Use up to {_LONGEST} printable characters, without {_MARK!r} among them.",
        )
