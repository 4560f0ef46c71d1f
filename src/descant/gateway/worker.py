"""One worker process of the gateway: what lasts, the settings in force, and what runs beside requests."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping
from pathlib import Path

from aiohttp.web import AppRunner

from descant.gateway.call import PATHS, Call
from descant.gateway.catalogue import Catalogue
from descant.gateway.config import GatewayConfig, load_gateway_config
from descant.gateway.contents import follow_contents, followed
from descant.gateway.lasting import Lasting
from descant.gateway.observing import Observing
from descant.gateway.routing import Poller
from descant.gateway.settings import Settings
from descant.gateway.watching import (
    RequestSpan,
    RequestStart,
    read_trace_context,
    serve_metrics,
    worker_port,
)
from descant.monitoring import Drain, watch_loop
from descant.schema.errors import DescantError, InvalidConfig, LedgerUnavailable

_log = logging.getLogger(__name__)
_LOOK_S = 1.0
_LAST_WORDS_S = 2.0
_SEED_S = 60.0
"""Redis may have begun anew: its limits learn again so often what the books say was spent."""
_PATH_OF = {operation: path for path, operation in PATHS.items()}


class Worker:
    """Follows the gateway's file: a version that is wrong is reported, and the last good one stays."""

    def __init__(
        self, path: Path, num_workers: int = 1, environment: Mapping[str, str] = os.environ
    ):
        self.drain = Drain()
        self._path = path
        self._num_workers = num_workers
        self._environment = environment
        self._tasks: set[asyncio.Task[None]] = set()
        self._polling: asyncio.Task[None] | None = None
        self._lasting: Lasting | None = None
        self._settings: Settings | None = None
        self._observing: Observing | None = None
        self._scraped: AppRunner | None = None
        self.catalogue = Catalogue()

    @property
    def lasting(self) -> Lasting:
        """What outlives a change of the settings."""
        assert self._lasting is not None, "started"
        return self._lasting

    @property
    def settings(self) -> Settings:
        """The version in force."""
        assert self._settings is not None, "started"
        return self._settings

    async def start(self) -> None:
        """Open everything.

        Raises:
            InvalidConfig: the file is wrong.
            LedgerUnavailable: what was spent cannot be learned, and budgets depend on it.
        """
        seen = _version(self._path)
        config = load_gateway_config(self._path)
        self._lasting = lasting = Lasting.open(config, self._num_workers)
        await lasting.seed(config)
        self._observing = await self._observe(config, lasting)
        self._take(config, None)
        self.observing.watch(lambda: self.settings)
        self._begin(watch_loop(self.observing.metrics.observe_loop_lag))
        self._begin(self._follow(seen))
        self._begin(self._keep_seeding(config))

    @property
    def observing(self) -> Observing:
        """What it tells of itself."""
        assert self._observing is not None, "started"
        return self._observing

    def begin_span(self, call: Call, headers: Mapping[bytes, bytes]) -> RequestSpan:
        """Begin the span of a request, in the trace that its headers name."""
        told = {
            name: headers[name.encode()].decode("latin-1")
            for name in ("traceparent", "tracestate")
            if name.encode() in headers
        }
        path = _PATH_OF[call.operation]
        parent = read_trace_context(told) if told else None
        start = RequestStart(call.id, call.operation, path, call.caller.tenant, parent)
        return self.lasting.tracing.begin(start)

    def reload_soon(self) -> None:
        """Read the file again, though nothing seems to have changed."""
        self._begin(self.reload())

    async def stop(self) -> None:
        """Close everything; requests are over by now, or were broken off and are written down."""
        await self.drain.finish(_LAST_WORDS_S)
        tasks = [*self._tasks, *([] if self._polling is None else [self._polling])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._scraped is not None:
            await self._scraped.cleanup()
        await self.settings.fleet.close()
        await self.lasting.close()

    def _begin(self, work: object) -> None:
        task = asyncio.ensure_future(work)  # type: ignore[call-overload]
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("What runs beside requests has ended.", exc_info=error)

    async def _observe(self, config: GatewayConfig, lasting: Lasting) -> Observing:
        """Tell metrics on the first port of the workers' that no other worker has."""
        base = config.server.metrics_port
        if base is None:
            return Observing(lasting, config, 0)
        for number in range(self._num_workers):
            observing = Observing(lasting, config, number)
            try:
                port = worker_port(base, number)
                self._scraped = await serve_metrics(observing.registry, "127.0.0.1", port)
            except OSError:
                continue
            return observing
        raise InvalidConfig(f"All ports from {base} on are taken.", field="server.metrics_port")

    async def _follow(self, seen: tuple[int, ...] | None) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            now = _version(self._path)
            if now != seen:
                seen = now
                await self.reload()

    async def _keep_seeding(self, config: GatewayConfig) -> None:
        if config.state.redis is None:
            return
        while True:
            await asyncio.sleep(_SEED_S)
            try:
                await self.lasting.seed(self.settings.config)
            except LedgerUnavailable as error:
                _log.warning("What was spent cannot be learned now: %s", error)

    async def reload(self) -> None:
        """Read the file again; a version that is wrong is reported, and changes nothing."""
        former = self._settings
        try:
            config = load_gateway_config(self._path)
            self._take(config, former)
        except DescantError as error:
            _log.error("The settings read before stay in force: %s", error)
            return
        # Whatever is wrong with this version, the next one must be read.
        except Exception:
            _log.exception("The settings read before stay in force.")
            return
        _log.info("The settings of %s are in force.", self._path)
        if former is not None:
            self._begin(self._retire(former, self.settings))

    async def _retire(self, former: Settings, next_one: Settings) -> None:
        """Close what only the former version used, once its calls and their shadows must be over.

        What the next one has taken over is closed with that one, or with one after it.
        """
        try:
            await asyncio.sleep(2 * former.config.server.deadline_s)
        finally:
            await former.fleet.close(next_one.fleet)

    def _take(self, config: GatewayConfig, former: Settings | None) -> None:
        if former is not None and config.state != former.config.state:
            raise InvalidConfig(
                "[state] is read at the start alone.", field="state", remedy="Start it again."
            )
        fleet = None if former is None else former.fleet
        self._settings = Settings.of(config, self.lasting, self._environment, fleet)
        if self._polling is not None:
            self._polling.cancel()
        self._polling = asyncio.ensure_future(self._watch(self._settings))

    async def _watch(self, settings: Settings) -> None:
        await asyncio.gather(self._poll(settings), self.catalogue.follow(settings.fleet))

    async def _poll(self, settings: Settings) -> None:
        fleet = settings.fleet
        polled = [name for name, upstream in fleet.items() if upstream.config.poll_metrics]
        memory = self.lasting.memory

        async def fetch(name: str) -> str:
            return await fleet[name].metrics()

        contents = followed(settings.config, fleet)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(Poller(memory.view, memory.residency, fetch).run(polled))
            tasks.create_task(follow_contents(self.lasting.contents, contents))


def _version(path: Path) -> tuple[int, ...] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
