"""How a mock upstream behaves; any of it can be turned while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter

Share = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Fault = Literal[
    "error_500",
    "error_503",
    "error_429",  # with Retry-After
    "error_429_ms",  # with retry-after-ms alone
    "error_429_bare",  # with neither
    "reset_before",  # the connection is reset instead of an answer
    "reset_middle",
    "hang",  # nothing is ever answered
    "hang_middle",
    "half_close",  # half an answer, then the sending side is closed
    "garbage",  # 200, and not JSON
    "lie_length",  # a Content-Length longer than what comes
    "lie_limits",  # 429 with headers that mean nothing
    "lie_type",  # a 200 of JSON that is a page of HTML
]


@dataclass(frozen=True)
class Latency:
    """How long it takes until the first byte; refusals of status 429 come at once."""

    __pydantic_config__ = ConfigDict(extra="forbid")
    fixed_s: Seconds = 0.0
    quantiles: tuple[tuple[Share, Seconds], ...] = ()
    """Points (share, seconds) of the quantile function, straight between them; instead of fixed."""
    spike_every_s: Seconds = 0.0
    spike_for_s: Seconds = 0.0
    spike_factor: Annotated[float, Field(ge=0)] = 1.0
    ramp_for_s: Seconds = 0.0
    """Until then the factor climbs from 1 to `ramp_factor`, counted from when it was turned on."""
    ramp_factor: Annotated[float, Field(ge=0)] = 1.0


@dataclass(frozen=True)
class Limits:
    """What may pass in any window; None is no limit."""

    __pydantic_config__ = ConfigDict(extra="forbid")
    requests: Positive | None = None
    tokens: Positive | None = None
    window_s: Annotated[float, Field(gt=0)] = 60.0
    announce_ms: bool = True
    """Whether a refusal carries retry-after-ms beside Retry-After."""
    grace_s: Seconds = 0.1
    """Calls that come this soon after a refusal were on their way already."""


@dataclass(frozen=True)
class Knobs:
    """All that can be turned."""

    __pydantic_config__ = ConfigDict(extra="forbid")
    latency: Latency = Latency()
    gap_s: Seconds = 0.02
    """Between two pieces of a stream."""
    least_tokens: Positive = 16
    most_tokens: Positive = 16
    """An answer is between these long, as the request decides, and never over its max_tokens."""
    faults: dict[Fault, Share] = field(default_factory=dict)
    retry_after_s: Annotated[float, Field(gt=0)] = 1.0
    """What the faults of status 429 announce; error_429 in whole seconds, rounded up."""
    limits: Limits = Limits()
    models: tuple[str, ...] = ("mock",)
    content_hashes: dict[str, str] = field(default_factory=dict)
    """What /v1/models says that a name stands for, as a Descant server does."""
    waiting: Annotated[int, Field(ge=0)] = 0
    """What /metrics says of requests in the queue."""
    kv_usage: Share = 0.0
    adapters: tuple[str, ...] = ()
    seed: int = 0


_KNOBS = TypeAdapter(Knobs)


def knobs_from_json(data: Mapping[str, Any]) -> Knobs:
    """Return the knobs that an object describes; what it leaves out is as by default.

    Raises:
        pydantic.ValidationError: a name or value is wrong.
    """
    return _KNOBS.validate_python(dict(data))


def turn(knobs: Knobs, changes: Mapping[str, Any]) -> Knobs:
    """Return the knobs with some changed; parts of `latency` and `limits` may be named alone."""
    merged = asdict(knobs)
    for name, value in changes.items():
        is_group = name in ("latency", "limits")
        merged[name] = {**merged[name], **value} if is_group else value
    return knobs_from_json(merged)
