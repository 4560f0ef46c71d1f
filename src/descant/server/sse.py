"""Server-sent events as OpenAI's streams use them: one JSON object a line, ``[DONE]`` at the end."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any

from starlette.responses import StreamingResponse

from descant.schema import DescantError
from descant.server.errors import error_object

_log = logging.getLogger(__name__)


async def stream_events(events: AsyncGenerator[Mapping[str, Any], None]) -> StreamingResponse:
    """Return a response that sends each event as it comes.

    The first one is waited for, so that a request that fails at once has its proper status.

    Raises:
        DescantError: there was no first event.
    """
    first = await anext(aiter(events))
    return StreamingResponse(_lines(first, events), media_type="text/event-stream")


async def _lines(
    first: Mapping[str, Any], events: AsyncGenerator[Mapping[str, Any], None]
) -> AsyncIterator[str]:
    # Closed here when the caller leaves, which takes the request out of the engine.
    async with aclosing(events):
        yield _line(first)
        try:
            async for event in events:
                yield _line(event)
        except DescantError as error:
            yield _line(error_object(error.http_status, str(error), error.code, error.field))
        except Exception:
            _log.exception("A stream failed")
            yield _line(error_object(500, "An internal error; the log has it.", "internal_error"))
        yield "data: [DONE]\n\n"


def _line(event: Mapping[str, Any]) -> str:
    return f"data: {json.dumps(event, ensure_ascii=False, separators=(',', ':'))}\n\n"
