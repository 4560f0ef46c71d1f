"""What identifies an adapter: its name is for people, its content hash is for the cache."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class AdapterRef:
    """One version of one adapter."""

    name: str
    content_hash: str
    """``sha256:…`` over weights and the settings that change its output; the same bytes under
    another name have the same hash."""
