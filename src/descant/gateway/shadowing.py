"""Challengers beside champions on live traffic: asked too, never heard, written down side by side.

A line has the form of ``descant serve --trial-log``, so ``descant trial`` reads both. It holds nothing
of what was said but the labels of scorecards.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from descant.gateway.call import Call
from descant.gateway.reply import AnyReply, Tally, WholeReply
from descant.gateway.watching import RequestSpan

_log = logging.getLogger(__name__)
_MOST_WAITING = 64


@dataclass(frozen=True, slots=True)
class Asking:
    """How a shadow is asked, and who keeps the books of it."""

    ask: Callable[[Call, Tally, RequestSpan], Awaitable[AnyReply]]
    begin: Callable[[Call], RequestSpan]
    note: Callable[[Call, Tally], None]


@dataclass(frozen=True, slots=True)
class Side:
    """What one side answered to one question."""

    label: str | None
    text: str | None
    confidence: float | None

    def told(self, upstream: str | None) -> dict[str, Any]:
        """Return what may be written down: of a text, which may be personal, its length alone."""
        said = self.label or self.text or ""
        return {
            "adapter": upstream,
            "label": self.label,
            "length": len(said),
            "confidence": self.confidence,
            "unanswered": self.label is None and not self.text,
        }


class Shadowing:
    """Mirrors calls once their callers are answered; beyond 64 under way they are left out."""

    def __init__(self, log: Path | None, clock: Callable[[], float]):
        self._file: BinaryIO | None = None if log is None else log.open("ab", buffering=0)
        self._clock = clock
        self._waiting: set[asyncio.Task[None]] = set()
        self.num_left_out = 0

    def mirror(self, call: Call, given: bytes, model: str, asking: Asking) -> None:
        """Ask `model` the same later; `given` is what the caller was answered, whole."""
        if len(self._waiting) >= _MOST_WAITING:
            self.num_left_out += 1
            return
        task = asyncio.ensure_future(self._compare(_asked(call, model), given, asking))
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)

    async def close(self) -> None:
        """End what is under way."""
        for task in self._waiting:
            task.cancel()
        await asyncio.gather(*self._waiting, return_exceptions=True)
        if self._file is not None:
            self._file.close()

    async def _compare(self, call: Call, given: bytes, asking: Asking) -> None:
        tally, begun_s = Tally(), self._clock()
        patience_s = call.deadline_s - call.received_s
        call = replace(call, received_s=begun_s, deadline_s=begun_s + patience_s)
        span = asking.begin(call)
        reply: AnyReply | None = None
        try:
            reply = await asking.ask(call, tally, span)
        # Whatever happens to a mirror, no caller has part in it; and it has to be known.
        except Exception as error:
            _log.warning("A shadow was not answered: %s", error)
            return
        finally:
            span.end(500 if reply is None else 200, "failed" if reply is None else None)
            asking.note(call, tally)
        if isinstance(reply, WholeReply):
            self._write(call, given, reply.body, tally, self._clock() - begun_s)
        else:
            await reply.close()

    def _write(
        self, call: Call, given: bytes, shadow: bytes, tally: Tally, mirror_s: float
    ) -> None:
        if self._file is None:
            return
        champions, challengers = _sides(call, given), _sides(call, shadow)
        for name, champion in champions.items():
            challenger = challengers.get(name, Side(None, None, None))
            line = {
                "indicator": name,
                "answered_by": "champion",
                "agree": (champion.label, champion.text) == (challenger.label, challenger.text),
                "mirror_s": round(mirror_s, 6),
                "champion": champion.told(None),
                "challenger": challenger.told(tally.upstream),
            }
            self._file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))


def _asked(call: Call, model: str) -> Call:
    body = {key: value for key, value in call.body.items() if not key.startswith("stream")}
    body["model"] = model
    return replace(call, model=model, body=body, raw=orjson.dumps(body), is_stream=False)


def _sides(call: Call, body: bytes) -> Mapping[str, Side]:
    """Return the answers in a body, by indicator, or one under the model's name."""
    try:
        answer = orjson.loads(body)
        if call.operation == "scores":
            return {
                each["indicator"]: Side(each.get("label"), None, each.get("confidence"))
                for each in answer["answers"]
            }
        choice = answer["choices"][0]
        text = choice["message"]["content"] if call.operation == "chat" else choice["text"]
        return {call.model: Side(None, text, None)}
    except (orjson.JSONDecodeError, KeyError, TypeError, IndexError):
        return {call.model: Side(None, None, None)}
