"""The one thread that runs the engine, and the way in and out of it for the event loop.

Commands go in through a queue between steps; what a step brought comes back in one call into the
loop. A caller who leaves is taken out of the engine before its next step. Text is not touched here:
the engine's thread does nothing but compute.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field

from descant.engine import (
    DoneEvent,
    EmbedRequest,
    EmbedResult,
    Engine,
    EngineStats,
    Event,
    GenerateRequest,
    Request,
    Result,
    ScoreRequest,
    ScoreResult,
    TokenEvent,
)
from descant.schema import DescantError
from descant.schema.errors import EngineFailed, ServerStopping, TooBusy

_log = logging.getLogger(__name__)


Word = TokenEvent | Result | DescantError
"""What a caller hears: tokens, and in the end a result or an error."""


@dataclass(eq=False)
class _Caller:
    """One request's way back into the event loop."""

    loop: asyncio.AbstractEventLoop
    words: asyncio.Queue[Word] = field(default_factory=asyncio.Queue)
    job_id: int | None = None


class EngineThread:
    """Runs an engine that nothing else may touch."""

    def __init__(
        self,
        engine: Engine,
        max_requests: int,
        on_stats: Callable[[EngineStats], None] = lambda stats: None,
    ):
        """Start the thread; `on_stats` is called now and, on the thread, when figures change."""
        self._engine = engine
        self._max_requests = max_requests
        self._on_stats = on_stats
        self._commands: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._callers: dict[int, _Caller] = {}
        self._num_open = 0
        self._is_closed = False
        self._closing = threading.Lock()
        on_stats(engine.stats())
        self._thread = threading.Thread(target=self._run, name="descant-engine", daemon=True)
        self._thread.start()

    @property
    def is_running(self) -> bool:
        """Whether anything that is asked will be answered."""
        return not self._is_closed

    @property
    def num_open(self) -> int:
        """Requests that have not ended."""
        return self._num_open

    async def score(self, request: ScoreRequest) -> ScoreResult:
        """Answer every tail of a request.

        Raises:
            DescantError: why it was not answered.
        """
        outcome = await self._outcome(request)
        assert isinstance(outcome, ScoreResult)
        return outcome

    async def embed(self, request: EmbedRequest) -> EmbedResult:
        """Represent a text by a vector.

        Raises:
            DescantError: why it was not read.
        """
        outcome = await self._outcome(request)
        assert isinstance(outcome, EmbedResult)
        return outcome

    def generate(self, request: GenerateRequest) -> AsyncGenerator[TokenEvent | Result, None]:
        """Yield every token of a generation, then its result; closing it early cancels.

        Raises:
            DescantError: why it was not continued.
        """
        return self._ask(request)

    def close(self) -> None:
        """End the thread; whoever still waits, or asks from now on, gets an error."""
        with self._closing:
            self._is_closed = True
            self._commands.put(None)
        self._thread.join()

    async def _outcome(self, request: Request) -> TokenEvent | Result:
        # Closed here and now: left to itself, it would count as open until it is collected.
        async with aclosing(self._ask(request)) as words:
            return await anext(words)

    async def _ask(self, request: Request) -> AsyncGenerator[TokenEvent | Result, None]:
        if self._num_open >= self._max_requests:
            raise TooBusy(
                f"{self._max_requests} requests are waiting or running.",
                remedy="Try again in a moment, or raise max_requests.",
            )
        caller = _Caller(asyncio.get_running_loop())
        self._num_open += 1
        try:
            self._send(lambda: self._submit(caller, request))
            while True:
                event = await caller.words.get()
                if isinstance(event, DescantError):
                    raise event
                yield event
                if not isinstance(event, TokenEvent):
                    return
        finally:
            self._num_open -= 1
            self._commands.put(lambda: self._leave(caller))

    def _send(self, command: Callable[[], None]) -> None:
        # Behind the last command nobody would carry it out.
        with self._closing:
            if self._is_closed:
                raise _stopping()
            self._commands.put(command)

    def _submit(self, caller: _Caller, request: Request) -> None:
        try:
            caller.job_id = self._engine.submit(request)
        except Exception as error:
            _deliver([(caller, _told(error))])
        else:
            self._callers[caller.job_id] = caller

    def _leave(self, caller: _Caller) -> None:
        if caller.job_id is not None and self._callers.pop(caller.job_id, None) is not None:
            self._engine.cancel(caller.job_id)
            # There may be no step after this one for a long time.
            self._on_stats(self._engine.stats())

    def _run(self) -> None:
        try:
            while self._obey():
                self._step()
        except Exception as error:
            self._give_up(_told(error))
        else:
            self._fail_all(_stopping())

    def _give_up(self, error: DescantError) -> None:
        """Let nobody wait for a thread that ends by a mistake of ours."""
        with self._closing:
            self._is_closed = True
        self._tell_all(error)
        while not self._commands.empty():
            command = self._commands.get()
            if command is not None:
                command()
            self._tell_all(error)

    def _step(self) -> None:
        events: list[Event] = []
        try:
            events = self._engine.step()
        except Exception as error:
            # Nobody is left waiting, and the next request starts clean.
            self._fail_all(_told(error))
        # First the figures: whoever has an answer finds it counted.
        self._on_stats(self._engine.stats())
        self._route(events)

    def _obey(self) -> bool:
        """Carry out what has been asked meanwhile; wait when there is nothing else to do."""
        while True:
            try:
                command = self._commands.get(block=self._engine.is_idle)
            except queue.Empty:
                return True
            if command is None:
                return False
            command()

    def _route(self, events: list[Event]) -> None:
        outgoing: list[tuple[_Caller, Word]] = []
        for event in events:
            if isinstance(event, TokenEvent):
                outgoing.append((self._callers[event.job_id], event))
                continue
            caller = self._callers.pop(event.job_id)
            outgoing.append((caller, event.result if isinstance(event, DoneEvent) else event.error))
        _deliver(outgoing)

    def _fail_all(self, error: DescantError) -> None:
        for job_id in self._tell_all(error):
            self._engine.cancel(job_id)

    def _tell_all(self, error: DescantError) -> list[int]:
        """Return the ids of those who waited."""
        callers, self._callers = self._callers, {}
        _deliver([(caller, error) for caller in callers.values()])
        return list(callers)


def _told(error: Exception) -> DescantError:
    """Return what callers hear of an error; one that is our mistake is logged."""
    if isinstance(error, DescantError):
        return error
    _log.error("The engine failed", exc_info=error)
    return EngineFailed("The engine failed; the log says why.")


def _stopping() -> DescantError:
    return ServerStopping("The server is stopping.", remedy="Send it again later, or elsewhere.")


def _deliver(outgoing: list[tuple[_Caller, Word]]) -> None:
    """Hand over what a step brought, with one wake-up of each event loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[_Caller, Word]]] = {}
    for caller, word in outgoing:
        by_loop.setdefault(caller.loop, []).append((caller, word))
    for loop, pairs in by_loop.items():
        # A loop that has been closed has nobody left who waits.
        if not loop.is_closed():
            loop.call_soon_threadsafe(_put, pairs)


def _put(pairs: list[tuple[_Caller, Word]]) -> None:
    for caller, word in pairs:
        caller.words.put_nowait(word)
