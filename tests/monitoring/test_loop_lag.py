from __future__ import annotations

import asyncio

import pytest

from descant.monitoring import watch_loop


def test_every_waking_is_observed_by_how_late_it_is() -> None:
    now_s, late_s, seen = 100.0, [0.0, 0.25, 2.0], list[float]()

    async def sleep(time_s: float) -> None:
        nonlocal now_s
        if not late_s:
            raise asyncio.CancelledError
        now_s += time_s + late_s.pop(0)

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(watch_loop(seen.append, clock=lambda: now_s, sleep=sleep))
    assert seen == pytest.approx([0.0, 0.25, 2.0])
