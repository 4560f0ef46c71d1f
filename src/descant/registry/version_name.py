"""What a caller calls one version: ``empathy@champion``, or ``empathy@sha256:3fa94b21``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from descant.schema.errors import AdapterNotFound, InvalidConfig

CHAMPION, CHALLENGER = "champion", "challenger"

_NAME = re.compile(r"\w[\w.-]{0,127}")
_ALIAS = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_DIGITS = re.compile(r"sha256:[0-9a-f]{8,64}")


@dataclass(frozen=True)
class VersionName:
    """A name, and which of its versions is meant."""

    name: str
    alias: str | None = None
    digits: str | None = None
    """``sha256:…``, the version, or the hash of its weights, or the beginning of either."""

    @classmethod
    def parse(cls, text: str) -> VersionName:
        """Read ``name``, ``name@alias`` or ``name@sha256:digits``.

        Raises:
            AdapterNotFound: what follows the mark is neither.
        """
        name, mark, rest = text.partition("@")
        if not mark:
            return cls(name)
        if _DIGITS.fullmatch(rest):
            return cls(name, digits=rest)
        if _ALIAS.fullmatch(rest):
            return cls(name, alias=rest)
        raise AdapterNotFound(
            f"No adapter {text[:256]!r}.",
            field="adapter",
            remedy="A version is written name@alias, or name@sha256: and 8 to 64 hexadecimal "
            "digits.",
        )


def check_name(name: str) -> None:
    """Refuse a name that could not be told from a version or a path.

    Raises:
        InvalidConfig: names the field ``name``.
    """
    if _NAME.fullmatch(name) is None:
        raise InvalidConfig(
            f"{name[:256]!r} cannot be the name of an adapter in a registry.",
            field="name",
            remedy="Use up to 128 letters, digits, '_', '-' and '.', a letter or digit first.",
        )


def check_alias(alias: str) -> None:
    """Refuse an alias that could not be told from a hash, or not be written in a line.

    Raises:
        InvalidConfig: names the field ``alias``.
    """
    if _ALIAS.fullmatch(alias) is None:
        raise InvalidConfig(
            f"{alias[:256]!r} cannot be an alias.",
            field="alias",
            remedy="Use up to 64 of a-z, 0-9, '_' and '-', a letter first.",
        )
