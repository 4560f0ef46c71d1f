"""Plain numbers that a request adds to; what makes metrics of them reads them when it is asked.

A sum here takes a tenth of a microsecond; the same through a metric of prometheus_client takes one or
two, and finding that by its labels as long again.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")
_LONGEST_NAME = 128


class Bounded(dict[Key, Value], Generic[Key, Value]):
    """Values by key, for so many keys and no more; all others share one value.

    Names that callers make up can neither fill memory nor a scrape, and those known beforehand have
    their place whatever callers do. A name that is too long or cannot be printed has none.
    """

    __slots__ = ("_make", "_most", "other", "other_key")

    def __init__(
        self, make: Callable[[], Value], other_key: Key, known: Iterable[Key] = (), most: int = 200
    ):
        """`most` further keys are let in beside the known ones, first come first served."""
        super().__init__({key: make() for key in known if key != other_key})
        self._make = make
        self._most = len(self) + most
        self.other_key = other_key
        self.other = make()

    def __missing__(self, key: Key) -> Value:
        if len(self) >= self._most or key == self.other_key or not _may_be_shown(key):
            return self.other
        value = self[key] = self._make()
        return value

    def shown(self) -> list[tuple[Key, Value]]:
        """Return every key with its value, that of all others last; safe beside additions."""
        # A scrape reads in another thread than requests write. A copy is one step of the interpreter;
        # a list of pairs is not, for to make them may set off the collection of garbage.
        return [*self.copy().items(), (self.other_key, self.other)]


class Histogram:
    """How often a value was in which range."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]):
        """`bounds` rise; each is the highest value of its range."""
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Counts:
    """One number that only grows."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0


def _may_be_shown(key: Hashable) -> bool:
    names = key if isinstance(key, tuple) else (key,)
    return all(
        isinstance(name, str) and 0 < len(name) <= _LONGEST_NAME and name.isprintable()
        for name in names
    )
