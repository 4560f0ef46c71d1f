"""One line of the library's list."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from descant.schema import Calibration


@dataclass(frozen=True)
class AdapterEntry:
    """One version of one adapter, and where it is."""

    name: str
    version: str | None
    """Its content hash; None: not read yet, and no manifest tells it."""
    is_current: bool
    """Whether the bare name means this version."""
    state: Literal["registered", "host"]
    """``registered``: a folder on disk. ``host``: in memory as well."""
    host_bytes: int
    """Memory its weights take; names with the same content share them."""
    last_used_s: float | None
    """When it was last loaded for someone, on the library's clock; None: never."""
    is_pinned: bool
    folder: Path
    labels: tuple[str, ...] | None
    """The labels it was trained for; None without a manifest."""
    calibration: Calibration | None
    """How its probabilities are calibrated, as read with its weights; None: not at all."""
    release: str | None = None
    """What a registry calls this version; None: it comes from none."""
