"""Mock upstreams for the gateway's tests: in the loop of the test, on a free loopback port."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from benchmarks.gateway.mock import MockUpstream, knobs_from_json, serving


@dataclass(frozen=True)
class Served:
    """A mock upstream that listens."""

    url: str
    upstream: MockUpstream


@contextlib.asynccontextmanager
async def mock_upstream(**knobs: Any) -> AsyncIterator[Served]:
    """Serve one for the length of the block; knobs as in `benchmarks/gateway/mock/knobs.py`."""
    upstream = MockUpstream(knobs_from_json(knobs), time.monotonic)
    async with serving(upstream) as url:
        yield Served(url, upstream)
