"""A stream's events, put together while they pass into the body that would have come without streaming."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

_OBJECTS = {"chat.completion.chunk": "chat.completion", "text_completion": "text_completion"}
# Within a delta texts come in pieces; these come whole.
_WHOLE = frozenset({"role", "id", "type", "name", "index"})


class StreamRecording:
    """Follows one stream; for texts of chat and completions.

    It costs a few microseconds an event while the event passes, so that nothing is left to do at the end.
    """

    def __init__(self, num_choices: int, most_bytes: int):
        """`most_bytes` bounds what is kept; a longer stream is not put together."""
        self._num_choices = num_choices
        self._left_bytes = most_bytes
        self._rest = b""
        self._answer: dict[str, Any] = {}
        self._choices: dict[int, dict[str, Any]] = {}
        self._is_done = False
        self._is_broken = False

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes, however they are cut."""
        self._left_bytes -= len(chunk)
        self._is_broken |= self._left_bytes < 0
        if self._is_broken:
            self._rest = b""
            self._choices.clear()
            return
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                self._take(line[5:].strip())

    def body(self, usage: Mapping[str, Any]) -> bytes | None:
        """Return the whole answer; None unless the stream has come to its proper end.

        `usage` is put in where the stream itself told none.
        """
        ended = [choice.get("finish_reason") is not None for choice in self._choices.values()]
        if self._is_broken or not self._is_done or sum(ended) < max(1, self._num_choices):
            return None
        if not all(ended):
            return None
        if self._answer.get("usage") is None:
            self._answer["usage"] = dict(usage)
        choices = [_without_indexes(self._choices[index]) for index in sorted(self._choices)]
        return orjson.dumps(self._answer | {"choices": choices})

    def _take(self, data: bytes) -> None:
        if data == b"[DONE]":
            self._is_done = True
            return
        try:
            self._merge(orjson.loads(data))
        # Whatever an upstream sends in place of an event, the answer is passed on but not kept.
        except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError):
            self._is_broken = True

    def _merge(self, event: dict[str, Any]) -> None:
        if event.get("error") is not None:
            self._is_broken = True
            return
        for choice in event.pop("choices"):
            self._merge_choice(choice)
        event["object"] = _OBJECTS[event["object"]]
        event.pop("obfuscation", None)
        self._answer.update({name: value for name, value in event.items() if value is not None})

    def _merge_choice(self, choice: dict[str, Any]) -> None:
        so_far = self._choices.setdefault(choice["index"], {"index": choice["index"]})
        for name, value in choice.items():
            if name == "delta":
                _grow(so_far.setdefault("message", {}), value)
            elif name == "text":
                so_far["text"] = so_far.get("text", "") + value
            elif name == "logprobs" and value is not None:
                # None until the first come.
                so_far["logprobs"] = _grow(so_far.get("logprobs") or {}, value)
            elif value is not None or name not in so_far:
                so_far[name] = value


def _grow(whole: dict[str, Any], piece: Mapping[str, Any]) -> dict[str, Any]:
    for name, value in piece.items():
        before = whole.get(name)
        if value is None or before is None:
            whole[name] = before if value is None else _first(value)
        elif name in _WHOLE:
            whole[name] = value
        elif isinstance(value, str):
            whole[name] = before + value
        elif isinstance(value, dict):
            _grow(before, value)
        elif isinstance(value, list):
            _grow_list(before, value)
        else:
            whole[name] = value
    return whole


def _first(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    grown: list[Any] = []
    _grow_list(grown, value)
    return grown


def _grow_list(whole: list[Any], piece: list[Any]) -> None:
    """Tool calls are continued by their index; everything else is appended."""
    for item in piece:
        index = item.get("index") if isinstance(item, dict) else None
        begun = [one for one in whole if index is not None and one.get("index") == index]
        if begun:
            _grow(begun[0], item)
        else:
            whole.append(item)


def _without_indexes(choice: dict[str, Any]) -> dict[str, Any]:
    calls = choice.get("message", {}).get("tool_calls")
    if not calls:
        return choice
    ordered = sorted(calls, key=lambda call: call.get("index", 0))
    bare = [{name: call[name] for name in call if name != "index"} for call in ordered]
    return choice | {"message": choice["message"] | {"tool_calls": bare}}
