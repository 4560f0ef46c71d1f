"""An endpoint that answers a task: its address, what may be spent on it, and how hard it is asked.

As a file, which holds no key but says where one is::

    url = "https://api.example.com/v1"
    model = "big-model"          # without one: a Descant server, asked for its adapters' scores
    key_env = "EXAMPLE_KEY"      # the environment variable that has the key
    price_in = 0.15              # of a million tokens
    price_out = 0.60
    budget_money = 5
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Annotated

from pydantic import Field

from descant.configuration import read_toml_record
from descant.distillation import (
    ChatConfig,
    ChatTeacher,
    Cost,
    Limits,
    Prices,
    ScorecardTeacher,
    Teacher,
)
from descant.schema.errors import InvalidConfig

NotNegative = Annotated[Decimal, Field(ge=0)]
AtLeastOne = Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class EndpointPlan:
    """Whom to ask, and within which limits.

    Raises:
        InvalidConfig: log-probabilities are wanted of a Descant server, or a version of another.
    """

    url: str
    model: str | None = None
    """A chat model's name; None: a Descant server, asked for its adapters' scores."""
    key_env: str | None = None
    """The environment variable that has the key; None: no key is sent."""
    version: str | None = None
    """What stands at the address of a Descant server; None: the server is asked."""
    soft: bool = False
    """Ask a chat model for log-probabilities, so that every label has a probability."""
    max_answer_tokens: AtLeastOne = 64
    concurrency: AtLeastOne = 8
    """Requests under way at once."""
    timeout_s: Annotated[float, Field(gt=0)] = 60.0
    price_in: NotNegative = Decimal(0)
    """Of a million tokens read, in the money of the policy."""
    price_out: NotNegative = Decimal(0)
    budget_tokens: Annotated[int, Field(ge=0)] | None = None
    budget_money: NotNegative | None = None
    """For all runs over the same file of answers together."""

    def __post_init__(self) -> None:
        for name, unfit in (("soft", self.model is None), ("version", self.model is not None)):
            if unfit and getattr(self, name):
                raise InvalidConfig(
                    f"{name} is for {'a chat model' if name == 'soft' else 'a Descant server'}.",
                    field=name,
                )

    @property
    def name(self) -> str:
        """Return how it is named on the command line."""
        return self.address if self.model is None else f"{self.address}#{self.model}"

    @property
    def address(self) -> str:
        """The address, however many slashes end it."""
        return self.url.rstrip("/")

    @property
    def prices(self) -> Prices:
        """What a million tokens cost."""
        return Prices(self.price_in, self.price_out)

    @property
    def limits(self) -> Limits:
        """The most that may be spent."""
        return Limits(self.budget_tokens, self.budget_money)

    def after(self, spent: Cost) -> EndpointPlan:
        """Return the plan with what was spent elsewhere taken out of its budget."""
        tokens, money = self.budget_tokens, self.budget_money
        return replace(
            self,
            budget_tokens=None if tokens is None else max(0, tokens - spent.tokens),
            budget_money=None if money is None else max(Decimal(0), money - spent.money),
        )

    def teacher(self, version: str) -> Teacher:
        """Return what knows how to ask it; a Descant server's answers are those of a version."""
        if self.model is None:
            return ScorecardTeacher(version, soft=True)
        return ChatTeacher(
            ChatConfig(self.model, soft=self.soft, max_answer_tokens=self.max_answer_tokens)
        )

    def answers_in(self, folder: Path, run: str = "") -> Path:
        """Return the file of its answers; what other addresses said is in others.

        Another `run` asks again what was asked before.
        """
        digest = hashlib.sha256(f"{self.name}\n{run}".encode()).hexdigest()[:12]
        shown = re.sub(r"[^A-Za-z0-9.]+", "-", self.name.partition("://")[2])[:80].strip("-.")
        return folder / f"{shown}-{digest}.answers.jsonl"


def is_address(source: str) -> bool:
    """Return whether a source is named by its address."""
    return source.startswith(("http://", "https://"))


def split_address(source: str) -> tuple[str, str | None]:
    """Return address and model of ``ADDRESS#MODEL``; without a model it is a Descant server."""
    url, _, model = source.partition("#")
    return url.rstrip("/"), model or None


def load_endpoint(path: Path) -> EndpointPlan:
    """Read an endpoint's file; the error lists every mistake in it with line, key and remedy.

    Raises:
        InvalidConfig: the file cannot be read, is not TOML, or a key in it is missing, unknown,
            of the wrong type or out of range.
    """
    return read_toml_record(path, EndpointPlan, "endpoint", "docs/gate.md has one to begin with.")
