"""Every error as OpenAI's API writes it: ``{"error": {"message", "type", "code", "param"}}``."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from descant.schema import DescantError

_CODES = {404: "not_found", 405: "method_not_allowed", 413: "request_too_large"}


def refuse(
    request: Request,
    status: int,
    message: str,
    code: str,
    param: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Return one error, its type following from its status, and note its code on the request."""
    request.state.error_code = code
    return JSONResponse(error_object(status, message, code, param), status, headers)


def error_object(
    status: int, message: str, code: str, param: str | None = None
) -> dict[str, dict[str, str | None]]:
    """Return one error as OpenAI's API writes it, its type following from its status."""
    message = message if message.endswith((".", "?", "!")) else f"{message}."
    error = {"message": message, "type": _type_of(status), "code": code, "param": param}
    # What is quoted from the request may hold half of a surrogate pair, which UTF-8 cannot carry.
    whole = {key: value and value.encode(errors="replace").decode() for key, value in error.items()}
    return {"error": whole}


def add_error_handlers(app: FastAPI) -> None:
    """Answer every kind of refusal in the same shape."""
    app.add_exception_handler(DescantError, _descant_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)


async def _descant_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, DescantError)
    headers = {"retry-after": "1"} if error.http_status in (429, 503) else None
    return refuse(request, error.http_status, str(error), error.code, error.field, headers)


async def _validation_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(str(step) for step in first["loc"] if step != "body")
    message = f"{place}: {first['msg']}" if place else first["msg"]
    return refuse(request, 400, message, "invalid_request", place or None)


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code = _CODES.get(error.status_code, "invalid_request")
    return refuse(request, error.status_code, error.detail, code, headers=error.headers)


def _type_of(status: int) -> str:
    if status == 429:
        return "rate_limit_error"
    return "invalid_request_error" if status < 500 else "server_error"
