"""The one thread that runs the model, so that the event loop never waits for it.

Requests wait in order of arrival. The model needs no lock: nothing else calls it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Protocol

from descant.monitoring import Metrics
from descant.schema import AdapterRef, Indicator, Scorecard, Transcript


class ScoringModel(Protocol):
    """What the server needs of `descant.LLM`."""

    @property
    def model_name(self) -> str:
        """Name of the base model."""
        ...

    @property
    def base_hash(self) -> str:
        """``sha256:…`` of the base model's weights."""
        ...

    def adapters(self) -> Sequence[AdapterRef]:
        """Return the adapters that are loaded."""
        ...

    def score(self, conversation: Transcript, indicators: Sequence[Indicator], /) -> Scorecard:
        """Answer every indicator about one conversation."""
        ...


class EngineThread:
    """Runs scoring on its own thread, one conversation after the other."""

    def __init__(self, model: ScoringModel, metrics: Metrics):
        self._model = model
        self._metrics = metrics
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="descant-engine")

    async def score(self, conversation: Transcript, indicators: Sequence[Indicator]) -> Scorecard:
        """Answer every indicator about one conversation when its turn comes."""

        def run() -> Scorecard:
            waiting.close()
            with self._metrics.running():
                return self._model.score(conversation, indicators)

        with ExitStack() as waiting:
            waiting.enter_context(self._metrics.waiting())
            return await asyncio.get_running_loop().run_in_executor(self._executor, run)

    def close(self) -> None:
        """Finish what is running, drop what waits, and end the thread."""
        self._executor.shutdown(wait=True, cancel_futures=True)
