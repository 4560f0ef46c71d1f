"""The parts of ``descant bench serve`` that can be measured by themselves."""

from __future__ import annotations

import enum


class Part(enum.StrEnum):
    """What is measured; library is the traffic over registered adapters."""

    BASE = "base"
    ADAPTERS = "adapters"
    LIBRARY = "library"
