"""Prices in a dated file that people edit."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import AfterValidator, Field

from descant.configuration import did_you_mean, read_toml_record
from descant.schema.errors import InvalidConfig

NonNegative = Annotated[float, Field(ge=0)]
_OLD_DAYS = 180


def _day(text: str) -> str:
    date.fromisoformat(text)
    return text


Day = Annotated[str, AfterValidator(_day)]


@dataclass(frozen=True)
class ApiPrice:
    """Of a hosted model, for a million tokens."""

    read: NonNegative
    written: NonNegative
    as_of: Day
    """The day it was looked up, ISO 8601."""
    source: str
    cached: NonNegative | None = None
    """Of tokens read before; None: like any other."""


@dataclass(frozen=True)
class MachinePrice:
    """Of a machine, for an hour."""

    per_hour: NonNegative
    as_of: Day
    source: str


@dataclass(frozen=True)
class PriceList:
    """All that is known."""

    currency: str
    api: dict[str, ApiPrice] = field(default_factory=dict)
    machine: dict[str, MachinePrice] = field(default_factory=dict)
    overhead_share: NonNegative = 0.0
    """Of a machine's price, on top of it: storage, traffic, a spare."""

    def api_price(self, name: str) -> ApiPrice:
        """Return one by name.

        Raises:
            InvalidConfig: there is none.
        """
        return _named(self.api, name, "api")

    def machine_price(self, name: str) -> MachinePrice:
        """Return one by name.

        Raises:
            InvalidConfig: there is none.
        """
        return _named(self.machine, name, "machine")


def load_prices(path: Path | None = None) -> PriceList:
    """Read a price list; the one that came with Descant unless another is named.

    Raises:
        InvalidConfig: the file is wrong; names every mistake with line and key.
    """
    how = "Copy the one that came with Descant: descant cost --show-prices"
    if path is not None:
        return read_toml_record(path, PriceList, "prices", how)
    with as_file(files("descant.cost") / "prices.toml") as own:
        return read_toml_record(own, PriceList, "prices", how)


def is_old(price: ApiPrice | MachinePrice, today: date) -> bool:
    """Return whether a price was looked up half a year ago or earlier."""
    return (today - date.fromisoformat(price.as_of)).days > _OLD_DAYS


Price = TypeVar("Price", ApiPrice, MachinePrice)


def _named(prices: dict[str, Price], name: str, kind: str) -> Price:
    if name not in prices:
        known = ", ".join(sorted(prices)) or "none"
        raise InvalidConfig(
            f"There is no price of {name!r}.",
            field=kind,
            remedy=f"{did_you_mean(name, prices)} Known: {known}.".strip(),
        )
    return prices[name]
