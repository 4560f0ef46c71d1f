"""The nearest of a bounded number of vectors, by cosine; needs NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from descant.schema.errors import MissingDependency

try:
    import numpy as np
except ImportError as error:
    raise MissingDependency(
        "The semantic cache needs NumPy, which is not installed.", remedy="pip install numpy"
    ) from error

_FIRST_ROOM = 4


class Neighbour(NamedTuple):
    """A place, and how near it is: 1 is the same direction."""

    place: int
    similarity: float


class VectorTable:
    """Rows that are overwritten from the oldest on once it is full."""

    def __init__(self, num_dimensions: int, most_rows: int):
        self.num_dimensions = num_dimensions
        self._most_rows = most_rows
        self._rows = np.zeros((min(_FIRST_ROOM, most_rows), num_dimensions), np.float32)
        self._num_added = 0

    @property
    def held_bytes(self) -> int:
        """What the rows take."""
        return int(self._rows.nbytes)

    def add(self, vector: Sequence[float]) -> int:
        """Add one, and return its place; what was there before is gone."""
        place = self._num_added % self._most_rows
        if place == len(self._rows):
            room = min(2 * len(self._rows), self._most_rows) - len(self._rows)
            self._rows = np.vstack([self._rows, np.zeros((room, self.num_dimensions), np.float32)])
        self._rows[place] = _unit(vector)
        self._num_added += 1
        return place

    def forget(self, place: int) -> None:
        """Let this place be near nothing."""
        self._rows[place] = 0

    def nearest(self, vector: Sequence[float]) -> Neighbour | None:
        """Return the nearest row; None of an empty table."""
        if not self._num_added:
            return None
        similarities = self._rows[: self._num_added] @ _unit(vector)
        place = int(similarities.argmax())
        return Neighbour(place, float(similarities[place]))


def _unit(vector: Sequence[float]) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    row = np.asarray(vector, np.float32)
    length = float(np.linalg.norm(row))
    unit: np.ndarray[tuple[int], np.dtype[np.float32]] = row / length if length > 0 else row
    return unit
