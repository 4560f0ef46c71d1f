"""Asks every polled upstream how it is, again and again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable

from descant.gateway.routing.load_view import LoadView
from descant.gateway.routing.metrics_text import Figures, read_figures
from descant.gateway.routing.residency import Residency

_log = logging.getLogger(__name__)

Fetch = Callable[[str], Awaitable[str]]
"""An upstream's name → the text at its ``/metrics``."""

INTERVAL_S = 1.0


class Poller:
    """Keeps the view's figures fresh; one slow upstream does not hold up the others."""

    def __init__(self, view: LoadView, residency: Residency, fetch: Fetch):
        self._view, self._residency, self._fetch = view, residency, fetch
        self._unheard: set[str] = set()

    async def run(self, upstreams: Iterable[str], interval_s: float = INTERVAL_S) -> None:
        """Poll these upstreams until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for upstream in upstreams:
                tasks.create_task(self._watch(upstream, interval_s))

    async def poll(self, upstream: str) -> None:
        """Ask one upstream once; where it does not answer, what is known of it grows old."""
        try:
            figures = read_figures(await self._fetch(upstream))
        # Whatever went wrong, routing goes on with what is known, and it has to be said once.
        except Exception as error:
            self._unanswered(upstream, f"{type(error).__name__}: {error}")
            return
        if figures is None:
            self._unanswered(upstream, "there are no figures of an engine in it")
            return
        self._take(upstream, figures)

    async def _watch(self, upstream: str, interval_s: float) -> None:
        while True:
            await self.poll(upstream)
            await asyncio.sleep(interval_s)

    def _take(self, upstream: str, figures: Figures) -> None:
        self._unheard.discard(upstream)
        self._view.take(upstream, figures)
        self._residency.take(upstream, figures)

    def _unanswered(self, upstream: str, why: str) -> None:
        if upstream not in self._unheard:
            self._unheard.add(upstream)
            _log.warning("The metrics of upstream %s cannot be read: %s", upstream, why)
