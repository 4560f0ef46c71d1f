"""The requests of an uploaded file: each is read before the upstream sees it.

Otherwise a key that may use one model could have another one answer by writing its name in a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from descant.gateway.batches.line_splitter import LineSplitter
from descant.gateway.call import PATHS, Caller
from descant.gateway.dialects.document import TooDeep, dump
from descant.gateway.dialects.openai import refuse_lookalikes
from descant.gateway.intake import check_indicators, no_such_model
from descant.schema.errors import InputError

_FIELDS = frozenset({"custom_id", "method", "url", "body"})


class LineCheck:
    """Lets requests pass that the caller might send one by one.

    They are written anew, so that nobody can read another request in them.
    """

    def __init__(self, caller: Caller, names: Mapping[str, str], most_line_bytes: int):
        self._caller = caller
        self._names = names
        self._splitter = LineSplitter(most_line_bytes)
        self._num_lines = 0

    def feed(self, data: bytes) -> bytes:
        """Return what may be sent on.

        Raises:
            InputError: a line is too long, is no request, or asks for what is not open to the caller.
        """
        return b"".join(map(self._checked, self._splitter.feed(data)))

    def end(self) -> bytes:
        """Return what is left; errors as above, or there was no line."""
        rest = b"".join(map(self._checked, self._splitter.end()))
        if not self._num_lines:
            raise InputError("The file has no lines.", field="file")
        return rest

    def _checked(self, line: bytes) -> bytes:
        if not line.strip():
            return b""
        self._num_lines += 1
        try:
            return dump(self._request(line)) + b"\n"
        except TooDeep as error:
            raise InputError(f"Line {self._num_lines} is nested too deeply.") from error
        except InputError as error:
            message = f"Line {self._num_lines}: {error.message}"
            raise InputError(message, field=error.field, remedy=error.remedy) from error

    def _request(self, line: bytes) -> dict[str, Any]:
        table = _parsed(line)
        body, url = table.get("body"), table.get("url")
        if table.keys() != _FIELDS:
            raise InputError("A request has custom_id, method, url and body.", field="file")
        if not isinstance(body, dict) or table["method"] != "POST" or not isinstance(url, str):
            raise InputError("method is POST, url a text, body an object.", field="file")
        # Azure's batches leave out the version.
        operation = PATHS.get(url) or PATHS.get(f"/v1{url}")
        if operation is None:
            raise InputError(f"The gateway answers nothing at {url!r}.", field="url")
        refuse_lookalikes(body)
        if operation == "scores":
            check_indicators(body, self._caller)
            return {**table, "body": {key: each for key, each in body.items() if key != "model"}}
        return {**table, "body": {**body, "model": self._model(body.get("model"))}}

    def _model(self, model: object) -> str:
        if not isinstance(model, str) or not model:
            raise InputError("A request names a model.", field="model")
        if not self._caller.may_use(model):
            raise no_such_model(model)
        return self._names.get(model, model)


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        table = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise InputError(f"It is not JSON: {error}.", field="file") from error
    if not isinstance(table, dict):
        raise InputError("It is not a JSON object.", field="file")
    return table
