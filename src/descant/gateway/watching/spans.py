"""What may stand in a span: these fields and no others, so that no conversation ever does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from descant.gateway.call import Operation, Usage
from descant.gateway.watching import genai_names as names
from descant.gateway.watching.trace_context import TraceContext

Attribute = str | int | float | bool | tuple[str, ...]

# What others send as an id, a model's name or a reason could be anything, a conversation too.
_NAME = re.compile(r"[\w.:/@+-]{1,128}", re.ASCII)
_UNNAMED = "other"
_MOST_REASONS = 8


@dataclass(frozen=True, slots=True)
class RequestStart:
    """A request as it came in."""

    id: str
    operation: Operation
    route: str
    """The path's pattern."""
    tenant: str
    parent: TraceContext | None = None

    def attributes(self) -> dict[str, Attribute]:
        """Return what a span says of it."""
        return {
            names.REQUEST_ID: _named(self.id),
            names.HTTP_ROUTE: self.route,
            names.TENANT: self.tenant,
        }


@dataclass(frozen=True, slots=True)
class AttemptStart:
    """One asking of one upstream."""

    operation: Operation
    dialect: str
    """One of `genai_names.PROVIDERS`."""
    upstream: str
    model: str
    """As it is called there."""
    address: str
    port: int
    number: int = 1
    max_tokens: int | None = None
    is_stream: bool = False

    @property
    def span_name(self) -> str:
        """What the span is called."""
        return names.span_name(self.operation, _named(self.model))

    def attributes(self) -> dict[str, Attribute]:
        """Return what a span says of it."""
        found: dict[str, Attribute] = {
            names.OPERATION_NAME: names.OPERATIONS[self.operation],
            names.PROVIDER_NAME: names.PROVIDERS[self.dialect],
            names.REQUEST_MODEL: _named(self.model),
            names.UPSTREAM: self.upstream,
            names.ATTEMPT: self.number,
            names.SERVER_ADDRESS: self.address,
            names.SERVER_PORT: self.port,
        }
        if self.is_stream:
            found[names.REQUEST_STREAM] = True
        if self.max_tokens is not None:
            found[names.REQUEST_MAX_TOKENS] = self.max_tokens
        return found


@dataclass(frozen=True, slots=True)
class AttemptEnd:
    """What came of it."""

    status: int | None = None
    """None: no answer came."""
    error: str | None = None
    """An error's code, never its message, which may quote a request."""
    usage: Usage | None = None
    model: str | None = None
    """As the upstream says."""
    finish_reasons: tuple[str, ...] = ()
    first_byte_s: float | None = None

    def attributes(self) -> dict[str, Attribute]:
        """Return what a span says of it."""
        return dict(self._pairs())

    def _pairs(self) -> Iterator[tuple[str, Attribute]]:
        if self.status is not None:
            yield names.HTTP_STATUS, self.status
        if self.error is not None:
            yield names.ERROR_TYPE, _named(self.error)
        if self.usage is not None:
            yield names.USAGE_INPUT_TOKENS, self.usage.prompt_tokens
            yield names.USAGE_OUTPUT_TOKENS, self.usage.completion_tokens
            yield names.USAGE_CACHED_TOKENS, self.usage.cached_tokens
        if self.model is not None:
            yield names.RESPONSE_MODEL, _named(self.model)
        if self.finish_reasons:
            reasons = self.finish_reasons[:_MOST_REASONS]
            yield names.RESPONSE_FINISH_REASONS, tuple(map(_named, reasons))
        if self.first_byte_s is not None:
            yield names.RESPONSE_TIME_TO_FIRST_CHUNK, self.first_byte_s


class AttemptSpan(Protocol):
    """One asking of one upstream, under way."""

    @property
    def headers(self) -> dict[str, str]:
        """Return what the upstream is told of the trace."""
        ...

    def end(self, end: AttemptEnd) -> None:
        """Say what came of it; once."""
        ...


class RequestSpan(Protocol):
    """One request, under way."""

    def attempt(self, start: AttemptStart) -> AttemptSpan:
        """Begin the asking of an upstream."""
        ...

    def end(self, status: int, error: str | None = None) -> None:
        """Say how it was answered; once."""
        ...


class Tracing(Protocol):
    """Where spans begin."""

    def begin(self, start: RequestStart) -> RequestSpan:
        """Begin a request's span."""
        ...

    def close(self) -> None:
        """Send what is not yet sent; may take seconds."""
        ...


def _named(name: str) -> str:
    return name if _NAME.fullmatch(name) else _UNNAMED
