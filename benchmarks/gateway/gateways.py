"""Gateways that can be measured: started on one core before some mock upstreams."""

from __future__ import annotations

import contextlib
import hashlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from benchmarks.gateway.child import Command, free_port, started, wait_until_up

KEY = "sk-bench-0123456789"
MODEL = "mock"
_PLENTY = 1_000_000_000
_STARTS_WITHIN_S = 120.0


@dataclass(frozen=True)
class Upstream:
    """One place that answers, as the gateway is told of it."""

    name: str
    url: str
    tokens_per_minute: int | None = None
    requests_per_minute: int | None = None
    idle_timeout_s: float = 60.0
    concurrency: int | None = None


@dataclass(frozen=True)
class Place:
    """Where a gateway runs and keeps its files."""

    folder: Path
    cores: tuple[int, ...]
    workers: int = 1
    redis: str | None = None
    key_concurrency: int = _PLENTY
    """How many requests of the one key there is may be under way."""


@dataclass(frozen=True)
class Running:
    """A gateway that is up; None as process of one that was up before."""

    name: str
    url: str
    pid: int | None
    headers: tuple[tuple[str, str], ...] = field(
        default=(("authorization", f"Bearer {KEY}"),), repr=False
    )


class Gateway(Protocol):
    """A product that can stand before upstreams."""

    @property
    def name(self) -> str:
        """What it is called in tables."""
        ...

    def up(
        self, upstreams: Sequence[Upstream], place: Place
    ) -> contextlib.AbstractContextManager[Running]:
        """Run it for the length of the block."""
        ...


@dataclass(frozen=True)
class Descant:
    """``descant gateway``, with limits, prices, a ledger, a cache and hedging.

    No answer comes from the cache, for the requests name no temperature.
    """

    name: str = "descant"

    @contextlib.contextmanager
    def up(self, upstreams: Sequence[Upstream], place: Place) -> Iterator[Running]:
        """Run it for the length of the block."""
        file = place.folder / "gateway.toml"
        file.write_text(self.file_text(upstreams, place))
        port, log = free_port(), place.folder / "descant.log"
        words = [sys.executable, "-m", "descant", "gateway", str(file), "--port", str(port)]
        if place.workers > 1:
            words += ["--workers", str(place.workers)]
        environment = {"MOCK_KEY": "sk-mock", "OMP_NUM_THREADS": "1"}
        with started(Command(tuple(words), place.cores, log, environment)) as process:
            url = f"http://127.0.0.1:{port}"
            wait_until_up(f"{url}/health", process, log, _STARTS_WITHIN_S)
            yield Running(self.name, url, process.pid)

    def file_text(self, upstreams: Sequence[Upstream], place: Place) -> str:
        """Return its settings."""
        names = ", ".join(f'"{upstream.name}"' for upstream in upstreams)
        redis = f'redis = "{place.redis}"\n' if place.redis else ""
        return "".join(
            [
                f'[state]\nledger = "{ledger_path(place)}"\n{redis}\n',
                *map(_upstream_text, upstreams),
                f'[routes."*"]\nupstreams = [{names}]\ncache_s = 60\nhedge_share = 0.05\n\n',
                f'[keys.bench]\nsha256 = "{hashlib.sha256(KEY.encode()).hexdigest()}"\n',
                f'tenant = "bench"\nrequests_per_minute = {_PLENTY}\n',
                f"tokens_per_minute = {_PLENTY}\nconcurrency = {place.key_concurrency}\n\n",
                f"[tenants.bench]\nmoney_per_month = {_PLENTY}.0\n",
            ]
        )


@dataclass(frozen=True)
class Elsewhere:
    """A gateway that runs already and whose upstream was set by whoever started it."""

    url: str
    key: str | None = None
    name: str = "descant"

    @contextlib.contextmanager
    def up(self, upstreams: Sequence[Upstream], place: Place) -> Iterator[Running]:
        """Give its address."""
        del upstreams, place
        headers = (("authorization", f"Bearer {self.key}"),) if self.key else ()
        yield Running(self.name, self.url.rstrip("/"), None, headers)


def ledger_path(place: Place) -> Path:
    """Return where the gateway's books are."""
    return place.folder / "ledger.sqlite"


def _upstream_text(upstream: Upstream) -> str:
    lines = [
        f"[upstreams.{upstream.name}]",
        f'dialect = "openai"\nurl = "{upstream.url}"\nkey_env = "MOCK_KEY"',
        f"idle_timeout_s = {upstream.idle_timeout_s}\nread_price = 0.25\nwrite_price = 2.0",
    ]
    for name in ("tokens_per_minute", "requests_per_minute", "concurrency"):
        limit = getattr(upstream, name)
        if limit is not None:
            lines.append(f"{name} = {limit}")
    return "\n".join(lines) + "\n\n"
