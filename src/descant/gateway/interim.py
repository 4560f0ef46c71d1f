"""Interim."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class TokenEstimator:
    def __init__(self, default: int):
        self.d = default

    def estimate(self, model: str, body: Mapping[str, Any], num_bytes: int) -> tuple[int, int]:
        m = body.get("max_completion_tokens") or body.get("max_tokens") or self.d
        return num_bytes // 4 + 1, m * (body.get("n") or 1)
