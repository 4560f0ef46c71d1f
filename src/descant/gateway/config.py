"""The gateway in one TOML file.

::

    [server]
    max_body_bytes = 10_000_000

    [upstreams.own]
    dialect = "descant"
    url = "http://127.0.0.1:8000"
    concurrency = 64

    [upstreams.hosted]
    dialect = "openai"
    url = "https://api.openai.com"
    key_env = "OPENAI_API_KEY"                # the name of an environment variable
    names = { polite = "gpt-5-mini" }         # what a model is called there
    priority = 1                              # asked where no upstream of priority 0 can answer
    hours = "22-06"                           # UTC; otherwise never asked
    max_context_tokens = 128_000              # longer requests go elsewhere
    requests_per_minute = 500
    tokens_per_minute = 200_000
    read_price = 0.25                         # money for a million tokens
    write_price = 2.0

    [routes."*"]                              # a model's name, or a glob; the longest that fits counts
    upstreams = ["own", "hosted"]

    [keys.quality-team]
    sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
    tenant = "quality"
    models = ["polite", "refund-*"]
    tokens_per_minute = 100_000

    [tenants.quality]
    money_per_month = 50.0

    [batches]                                 # /v1/files and /v1/batches
    upstream = "own"
    secret_env = "DESCANT_BATCHES_SECRET"     # 32 characters or more

Keys are stored as hashes only (``printf %s "$SECRET" | sha256sum``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from descant.configuration import read_toml_record
from descant.gateway.cascade.stages import CascadeConfig
from descant.gateway.upstream_address import parse_address
from descant.gateway.watching.tracing import TracingConfig
from descant.schema.errors import InvalidConfig

Positive = Annotated[int, Field(ge=1)]
PositiveSeconds = Annotated[float, Field(gt=0)]
Price = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
DialectName = Literal["openai", "azure", "anthropic", "vllm", "descant"]
Order = Literal["load", "weight", "latency", "cost"]
Hours = Annotated[str, Field(pattern=r"^([01]\d|2[0-3])(:[0-5]\d)?-([01]\d|2[0-3])(:[0-5]\d)?$")]


@dataclass(frozen=True)
class ServerConfig:
    """What any caller may send, and how long anything may take."""

    max_body_bytes: Positive = 10_000_000
    max_header_bytes: Positive = 32_768
    """Of a request's target and headers; 32 are added for each header."""
    max_connections: Positive = 4096
    """Of one worker, each answering one request at a time; further ones are told 503."""
    head_timeout_s: PositiveSeconds = 10.0
    """A request's headers must have arrived whole by then."""
    send_timeout_s: PositiveSeconds = 60.0
    """The longest a caller may leave an answer unread."""
    body_timeout_s: PositiveSeconds = 30.0
    """A request must have arrived whole by then."""
    deadline_s: PositiveSeconds = 600.0
    """The longest a caller is let wait; `x-deadline-s` of a request may shorten it."""
    drain_s: PositiveSeconds = 30.0
    metrics_port: Annotated[int, Field(ge=1, le=65_535)] | None = None
    """Where worker 0 tells its metrics, worker 1 on the next port, and so on; None: beside all else."""
    default_max_tokens: Positive = 1024
    """Set aside for a request that names no most."""


@dataclass(frozen=True)
class UpstreamConfig:
    """One place that answers."""

    url: str
    dialect: DialectName = "openai"
    key_env: str | None = None
    """The environment variable that holds its API key."""
    ca_file: str | None = None
    """Certificates to trust beside the machine's."""
    allow_private: bool = False
    """Whether its name may lead into a private network; written-out addresses and localhost may."""
    api_version: str | None = None
    """Azure's `api-version`."""
    models: tuple[str, ...] = ("*",)
    """Names and globs of what it serves."""
    names: dict[str, str] = field(default_factory=dict)
    """What a model is called there, where it has another name; Azure: its deployment."""
    priority: int = 0
    """Lower first: capacity that is paid for anyway before what is paid by the token."""
    weight: Annotated[float, Field(gt=0)] = 1.0
    requests_per_minute: Positive | None = None
    tokens_per_minute: Positive | None = None
    concurrency: Positive | None = None
    burst_s: Annotated[float, Field(ge=1, le=60)] = 10.0
    """No window of this length sees more than its share of a minute's limits; Azure judges 1 s or 10 s."""
    connect_timeout_s: PositiveSeconds = 5.0
    idle_timeout_s: PositiveSeconds = 60.0
    """The longest silence before and within an answer."""
    read_price: Price = 0.0
    cached_price: Price | None = None
    """Of tokens it had read before; `read_price` if absent."""
    write_price: Price = 0.0
    list_models: bool = True
    """Whether it is asked once a minute what its globs stand for, for our own ``/v1/models``."""
    poll_metrics: bool = False
    """Whether its queue, KV use and adapters are asked for at ``/metrics``."""
    adapter_slots: Positive | None = None
    """Adapters it holds at a time; None: what its metrics say, and without any, no limit."""
    max_context_tokens: Positive | None = None
    """The most tokens of prompt and answer together."""
    hours: Hours | None = None
    """When it is asked, in UTC: ``22-06``, ``08:30-17:00``; None: always."""

    def __post_init__(self) -> None:
        parse_address(self.url, allow_private=self.allow_private)


@dataclass(frozen=True)
class SemanticRouteConfig:
    """Answers to questions that mean the same: served while hardly any would be another.

    Would-be hits are checked until it is known that at most `most_false_share` of them would be wrong;
    then they are served, still checked at random, and no longer served once that is in doubt.
    """

    model: Annotated[str, Field(min_length=1)]
    """The embedding model, asked as any other; its tokens are in the books as a stage."""
    most_false_share: Annotated[float, Field(gt=0, lt=1)] = 0.01
    check_share: Annotated[float, Field(gt=0, le=0.5)] = 0.1
    """At least so many of the would-be hits are asked anyway and compared."""
    least_similarity: Annotated[float, Field(gt=0, le=1)] = 0.95
    """The cosine from which on two questions mean the same."""
    most_bytes: Positive = 64_000_000
    timeout_s: PositiveSeconds = 1.0
    """The longest a request waits for its vector."""


@dataclass(frozen=True)
class RouteConfig:
    """How one model, or all that a glob names, is answered."""

    upstreams: tuple[str, ...]
    order: Order = "load"
    """Within a priority: least loaded, by weight, quickest, cheapest."""
    cache_s: Annotated[float, Field(ge=0)] = 0.0
    """How long an answer may be given again to the same question; 0: never."""
    semantic: SemanticRouteConfig | None = None
    """Also to a question that means the same; None: never."""
    cache_sampled: bool = False
    """Whether answers that were drawn at random are given again too."""
    hedge_share: Share = 0.0
    """The share of requests that may be asked twice when the first byte is late."""
    canary_model: str | None = None
    """The model that answers `canary_share` of the requests instead."""
    canary_share: Share = 0.0
    shadow_model: str | None = None
    """The model that is asked `shadow_share` of the requests too; no caller sees its answers."""
    shadow_share: Share = 0.0
    deal_by: Literal["conversation", "tenant"] = "conversation"
    """What is dealt: all requests of a conversation, or of a tenant, go the same way."""

    def __post_init__(self) -> None:
        for trial in ("canary", "shadow"):
            if getattr(self, f"{trial}_share") > 0 and getattr(self, f"{trial}_model") is None:
                raise InvalidConfig(f"{trial}_share needs a {trial}_model.", field=f"{trial}_model")
        if self.semantic is not None and not self.cache_s:
            raise InvalidConfig("[semantic] needs how long answers are kept.", field="cache_s")

    @property
    def models_beside(self) -> tuple[str, ...]:
        """The models it may ask beside the one that callers name."""
        embedder = None if self.semantic is None else self.semantic.model
        named = (self.canary_model, self.shadow_model, embedder)
        return tuple(model for model in named if model is not None)


@dataclass(frozen=True)
class LimitConfig:
    """What may pass in a minute, at once, and in money; None is no limit."""

    requests_per_minute: Positive | None = None
    tokens_per_minute: Positive | None = None
    concurrency: Positive | None = None
    money_per_day: Price | None = None
    money_per_month: Price | None = None

    @property
    def has_budget(self) -> bool:
        """Whether money is limited."""
        return self.money_per_day is not None or self.money_per_month is not None


@dataclass(frozen=True)
class KeyConfig(LimitConfig):
    """One virtual key."""

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] = ""
    tenant: str | None = None
    """The key's name if absent."""
    models: tuple[str, ...] = ("*",)
    priority: int = 0
    admin: bool = False
    """Whether it opens /admin/state and /admin/economy."""

    def __post_init__(self) -> None:
        if not self.sha256:
            raise InvalidConfig("is missing.", field="sha256")


@dataclass(frozen=True)
class BatchesConfig:
    """Files and batches of one upstream, for many tenants."""

    upstream: str
    secret_env: str
    """The environment variable with the secret that ids are tagged with; another secret, other ids."""
    keys: tuple[str, ...] = ("*",)
    """Names and globs of the keys that may use them."""
    max_upload_bytes: Positive = 200_000_000
    max_line_bytes: Positive = 1_000_000
    upload_pause_s: PositiveSeconds = 30.0
    """The longest silence within an upload."""
    price_share: Price = 1.0
    """What a token costs in a batch, as a share of the upstream's price; hosted ones take half."""


@dataclass(frozen=True)
class PromptsConfig:
    """Prompts that requests may name instead of writing them out."""

    folder: str
    """Of ``name@version.toml`` files, read with the gateway's file and whenever that changes."""


@dataclass(frozen=True)
class StateConfig:
    """Where what outlives a request is kept."""

    ledger: str | None = None
    """An SQLite file, or a PostgreSQL URL; None keeps no books."""
    redis: str | None = None
    """``redis://…``: limits and cache shared by all workers; None: each process has its own."""
    trial_log: str | None = None
    """Where shadows and their champions are written side by side, for ``descant trial``."""


@dataclass(frozen=True)
class GatewayConfig:
    """Everything that decides what the gateway does."""

    upstreams: dict[str, UpstreamConfig]
    routes: dict[str, RouteConfig]
    keys: dict[str, KeyConfig] = field(default_factory=dict)
    """Without any, every caller is let in."""
    tenants: dict[str, LimitConfig] = field(default_factory=dict)
    cascades: dict[str, CascadeConfig] = field(default_factory=dict)
    """By the model that callers name."""
    models: dict[str, LimitConfig] = field(default_factory=dict)
    """Limits of a model or adapter, whoever asks."""
    server: ServerConfig = ServerConfig()
    tracing: TracingConfig = TracingConfig()
    batches: BatchesConfig | None = None
    prompts: PromptsConfig | None = None
    state: StateConfig = StateConfig()

    def __post_init__(self) -> None:
        if self.batches is not None:
            self._check_upstream(self.batches.upstream, "[batches]", "batches.upstream")
        for name, route in self.routes.items():
            for upstream in route.upstreams:
                self._check_upstream(upstream, f"route {name!r}", "routes")
            for model in route.models_beside:
                if not any(fnmatchcase(model, glob) for glob in self.routes):
                    raise InvalidConfig(
                        f"route {name!r} names the model {model!r}, which no route fits.",
                        field="routes",
                        remedy=f'Add [routes."{model}"].',
                    )

    def _check_upstream(self, upstream: str, place: str, field: str) -> None:
        if upstream not in self.upstreams:
            raise InvalidConfig(
                f"{place} names the upstream {upstream!r}, which is not there.",
                field=field,
                remedy=f"Upstreams: {', '.join(self.upstreams)}.",
            )


def load_gateway_config(path: Path) -> GatewayConfig:
    """Read the file; the error lists every mistake in it with line, key and remedy.

    Raises:
        InvalidConfig: the file cannot be read, is not TOML, or a key in it is wrong.
    """
    return read_toml_record(path, GatewayConfig, "gateway file", "docs/gateway.md has a first one.")
