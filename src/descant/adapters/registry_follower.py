"""A library that means what a registry means: the champion by the bare name, others as ``name@alias``.

A change is one number that grows; nothing else is read while it stays. What an alias means now is
read into memory before the name is switched to it, so that nobody waits for it, and requests under
way keep the adapter they began with. What cannot be loaded leaves the name as it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from descant.adapters.library import AdapterLibrary
from descant.registry import CHAMPION, Moment, Registry, VersionRecord
from descant.schema import Indicator, parse_indicator
from descant.schema.errors import DescantError

_RETRY_S = 10.0
"""How long after a failure the same is tried again, if the registry stays as it is."""


class RegistryFollower:
    """Keeps a library as a registry says; one thread at a time may call `follow`."""

    def __init__(
        self,
        library: AdapterLibrary,
        registry: Registry,
        report: Callable[[str], None] = lambda _: None,
        *,
        asks: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ):
        """Take over what the registry says now, without reading weights.

        `report` is told in words of every switch from then on, and of what went wrong. Unless it
        `asks`, the champions' own questions are not among its indicators.

        Raises:
            CatalogueUnavailable: the registry's database does not answer.
        """
        self._library, self._registry = library, registry
        self._report, self._asks, self._clock = report, asks, clock
        self._change = -1
        self._meant: dict[str, str] = {}
        self._offered: set[tuple[str, str]] = set()
        self._problems: dict[str, str] = {}
        self._failed_s = 0.0
        self._indicators: tuple[Indicator, ...] = ()
        self._take_over(registry.moment())

    @property
    def indicators(self) -> tuple[Indicator, ...]:
        """What the champions were trained to answer; may be asked for from any thread."""
        return self._indicators

    def follow(self) -> None:
        """Look for a change, and take it over if there is one; problems are reported, not raised."""
        try:
            is_due = self._problems and self._clock() - self._failed_s >= _RETRY_S
            if is_due or self._registry.last_change() != self._change:
                self._take_over(self._registry.moment())
            self._note("the registry", None)
        except DescantError as error:
            self._note("the registry", error)

    def _take_over(self, moment: Moment) -> None:
        for record in moment.records:
            self._offer(record)
        for (name, alias), version in moment.aliases.items():
            self._switch(name if alias == CHAMPION else f"{name}@{alias}", version)
        self._indicators = self._trained_for(moment) if self._asks else ()
        self._change = moment.change

    def _offer(self, record: VersionRecord) -> None:
        key = record.name, record.version
        if key not in self._offered:
            folder = self._registry.folder(record.version)
            self._library.offer(record.name, folder, record.version, record.weights_hash)
            self._offered.add(key)

    def _switch(self, name: str, version: str) -> None:
        if self._meant.get(name) == version:
            return
        folder, is_first = self._registry.folder(version), self._change < 0
        try:
            self._library.follow(name, folder, version, reads=not is_first)
        except DescantError as error:
            self._note(name, error)
            return
        self._meant[name] = version
        self._note(name, None)
        if not is_first:
            self._report(f"{name} is {version} now")

    def _trained_for(self, moment: Moment) -> tuple[Indicator, ...]:
        champions = [
            r for r in moment.records if moment.aliases.get((r.name, CHAMPION)) == r.version
        ]
        found = [self._indicator(record.name, record.manifest) for record in champions]
        return tuple(indicator for indicator in found if indicator is not None)

    def _indicator(self, name: str, manifest: Mapping[str, object] | None) -> Indicator | None:
        table = None if manifest is None else manifest["indicator"]
        if not isinstance(table, dict):
            return None
        try:
            return replace(parse_indicator(table, name), adapter=name)
        except DescantError as error:
            self._note(f"the question of {name}", error)
            return None

    def _note(self, what: str, error: DescantError | None) -> None:
        if error is None:
            self._problems.pop(what, None)
            return
        self._failed_s = self._clock()
        if self._problems.get(what) != str(error):
            self._problems[what] = str(error)
            self._report(f"{what} stays as it was: {error}")
