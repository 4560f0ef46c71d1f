"""Prompts under a name and a version, each one TOML file.

::

    # prompts/refund@3.toml
    [[messages]]
    role = "system"
    content = "You answer for {{shop}}. Be brief."

    [[messages]]
    role = "user"
    content = "{{question}}"

``{{name}}`` stands for a variable and nothing else: no expressions, no defaults. What is put in is not
looked at again, so that no value can bring a variable of its own. A changed file is another hash;
the answers that were cached for the old one are not given for the new one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import orjson
from pydantic import ConfigDict, Field

from descant.configuration import read_toml_record
from descant.schema.errors import InputError, InvalidConfig, NotFound

_VARIABLE = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}")
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*@[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class TemplateMessage:
    """One message, with variables in it."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    role: Literal["system", "developer", "user", "assistant"]
    content: str


@dataclass(frozen=True)
class PromptFile:
    """What a template's file holds."""

    messages: Annotated[tuple[TemplateMessage, ...], Field(min_length=1)]


@dataclass(frozen=True)
class PromptTemplate:
    """One version of a prompt."""

    name: str
    """``name@version``."""
    messages: tuple[TemplateMessage, ...]

    @cached_property
    def content_hash(self) -> str:
        """The SHA-256 of what it says."""
        said = [[message.role, message.content] for message in self.messages]
        return sha256(orjson.dumps(said)).hexdigest()

    @property
    def identity(self) -> str:
        """Name, version and hash in one, for the key of a cache and the ledger."""
        return f"{self.name}:{self.content_hash}"

    @cached_property
    def variables(self) -> frozenset[str]:
        """The names it needs values for."""
        return frozenset(
            name for message in self.messages for name in _VARIABLE.findall(message.content)
        )

    def render(self, values: Mapping[str, str]) -> list[dict[str, str]]:
        """Return the messages with the values put in.

        Raises:
            InputError: a value is missing, is no text, or nothing in the template asks for it.
        """
        self._check(values)
        return [
            {
                "role": message.role,
                "content": _VARIABLE.sub(lambda found: values[found[1]], message.content),
            }
            for message in self.messages
        ]

    def _check(self, values: Mapping[str, str]) -> None:
        missing, unknown = (
            sorted(self.variables - set(values)),
            sorted(set(values) - self.variables),
        )
        if missing or unknown:
            wrong = [f"{name!r} is missing" for name in missing]
            wrong += [f"{name!r} is not one of its variables" for name in unknown]
            needed = ", ".join(sorted(self.variables)) or "none"
            raise InputError(
                f"Prompt {self.name!r}: {'; '.join(wrong)}.",
                field="variables",
                remedy=f"It needs: {needed}.",
            )
        for name, value in values.items():
            if not isinstance(value, str):
                message = f"Prompt {self.name!r}: the variable {name!r} must be a text."
                raise InputError(message, field="variables")


class PromptLibrary:
    """All templates of a folder, by name and version."""

    def __init__(self, templates: Iterable[PromptTemplate]):
        self._templates = {template.name: template for template in templates}

    @classmethod
    def read(cls, folder: Path) -> PromptLibrary:
        """Read every ``name@version.toml`` of a folder.

        Raises:
            InvalidConfig: the folder is not there, or a file has another name or cannot be read.
        """
        if not folder.is_dir():
            raise InvalidConfig(f"{folder} is not a folder.", field="prompts")
        return cls(_read_template(path) for path in sorted(folder.glob("*.toml")))

    def get(self, name: str) -> PromptTemplate:
        """Return the template of this ``name@version``.

        Raises:
            NotFound: there is none.
        """
        found = self._templates.get(name)
        if found is None:
            known = ", ".join(sorted(self._templates)) or "none"
            message = f"There is no prompt {name!r}."
            raise NotFound(message, field="prompt", remedy=f"Prompts: {known}.")
        return found

    def names(self) -> tuple[str, ...]:
        """Return every ``name@version``, in order."""
        return tuple(sorted(self._templates))


def _read_template(path: Path) -> PromptTemplate:
    if not _FILE_NAME.fullmatch(path.stem):
        message = f"{path.name} is not called name@version.toml."
        raise InvalidConfig(message, field="prompts", remedy="For example refund@3.toml.")
    read = read_toml_record(path, PromptFile, "prompt file", "docs/gateway.md has a first one.")
    return PromptTemplate(path.stem, read.messages)
