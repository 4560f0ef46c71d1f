"""What is to be sent, how often and for how long."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal
from urllib.parse import urlsplit

import orjson


@dataclass(frozen=True)
class Target:
    """Where requests go, and what they say; the bodies are sent in turns."""

    url: str
    """Address and path, of http only."""
    bodies: tuple[bytes, ...]
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        parts = urlsplit(self.url)
        return parts.hostname or "127.0.0.1", parts.port or 80

    def requests(self) -> tuple[bytes, ...]:
        """Return each request as it goes over the wire."""
        parts = urlsplit(self.url)
        lines = "".join(f"{name}: {value}\r\n" for name, value in self.headers)
        head = f"POST {parts.path} HTTP/1.1\r\nhost: {parts.netloc}\r\n{lines}"
        head += "content-type: application/json\r\n"
        return tuple(
            f"{head}content-length: {len(body)}\r\n\r\n".encode() + body for body in self.bodies
        )


@dataclass(frozen=True)
class ClosedLoop:
    """So many clients, each of whom asks again as soon as it is answered."""

    clients: int

    def split(self, parts: int) -> list[ClosedLoop]:
        """Return the share of each of several processes; together they are this loop."""
        shares = [self.clients // parts + (index < self.clients % parts) for index in range(parts)]
        return [ClosedLoop(share) for share in shares if share]


@dataclass(frozen=True)
class OpenLoop:
    """Requests that come when they come, whether or not those before them are answered."""

    rate: float
    """Requests a second."""
    arrivals: Literal["poisson", "constant"] = "poisson"
    seed: int = 0

    def split(self, parts: int) -> list[OpenLoop]:
        """Return the share of each of several processes; together they are this loop."""
        rate = self.rate / parts
        return [replace(self, rate=rate, seed=self.seed + index) for index in range(parts)]

    def times_s(self, duration_s: float) -> Iterator[float]:
        """Yield when each request is due, from the start."""
        draw = random.Random(self.seed)
        at_s = 0.0
        while True:
            is_poisson = self.arrivals == "poisson"
            at_s += draw.expovariate(self.rate) if is_poisson else 1.0 / self.rate
            if at_s >= duration_s:
                return
            yield at_s


@dataclass(frozen=True)
class Load:
    """One run."""

    target: Target
    loop: ClosedLoop | OpenLoop
    duration_s: float
    timeout_s: float = 30.0
    connections: int = 4096

    def split(self, parts: int) -> list[Load]:
        """Return what each of several processes does."""
        return [replace(self, loop=loop) for loop in self.loop.split(parts)]


def chat_body(
    index: int, model: str, wishes: Mapping[str, object], prompt_characters: int = 1000
) -> bytes:
    """Return a chat request; another index is another prompt of the same length.

    `wishes` are what else it says: max_tokens, stream.
    """
    words = f"[{index:06d}] " + "please look at this order again " * (prompt_characters // 32 + 1)
    messages = [{"role": "user", "content": words[:prompt_characters]}]
    return orjson.dumps({"model": model, "messages": messages, **wishes})
