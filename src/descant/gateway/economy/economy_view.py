"""What each route's tokens are spent on, and what could be saved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from descant.gateway.call import Call, Usage
from descant.gateway.economy.frequent_prefixes import FrequentPrefixes
from descant.gateway.economy.max_tokens_advice import AnswerLengths, MaxTokensAdvice
from descant.gateway.economy.token_parts import PARTS, weigh_parts

CONSTANT_SHARE = 0.2
"""A beginning that so many of a route's requests have in common counts as constant."""

OTHERS = "others"
_MOST_ROUTES = 256


@dataclass(frozen=True, slots=True)
class RouteEconomy:
    """One route since the process began; parts are estimates scaled to the tokens that were counted."""

    route: str
    requests: int
    part_tokens: Mapping[str, float]
    """By part of the prompt, and of the answer."""
    cached_tokens: int
    constant_tokens: float
    """Read again and again although most requests begin with them."""
    constant_cached_tokens: float
    """Of these, what a prefix cache has saved already."""
    advice: MaxTokensAdvice | None

    @property
    def total_tokens(self) -> float:
        """Read and written."""
        return sum(self.part_tokens.values())

    @property
    def constant_read_tokens(self) -> float:
        """What trimming the constant part to nothing, or caching all of it, would save."""
        return self.constant_tokens - self.constant_cached_tokens

    def row(self) -> dict[str, object]:
        """Return it flat, for a table or a file."""
        total = self.total_tokens or 1.0
        parts = {f"{part}_tokens": round(count) for part, count in self.part_tokens.items()}
        shares = {f"{part}_share": count / total for part, count in self.part_tokens.items()}
        about = {} if self.advice is None else asdict(self.advice)
        return {
            "route": self.route,
            "requests": self.requests,
            "total_tokens": round(self.total_tokens),
            **parts,
            **shares,
            "cached_tokens": self.cached_tokens,
            "constant_share": self.constant_tokens / total,
            "constant_read_tokens": round(self.constant_read_tokens),
            **{f"max_tokens_{name}": value for name, value in about.items()},
        }


@dataclass(frozen=True, slots=True)
class EconomyReport:
    """All routes, the one that uses most first."""

    routes: tuple[RouteEconomy, ...]

    def rows(self) -> list[dict[str, object]]:
        """Return a flat row for each route."""
        return [route.row() for route in self.routes]


class EconomyView:
    """Adds up what settled requests have used; bounded by the number of routes, for one event loop."""

    def __init__(self) -> None:
        self._routes: dict[str, _RouteSum] = {}

    def observe(self, route: str, call: Call, usage: Usage) -> None:
        """Take one request that upstream has answered; answers from a cache use no tokens.

        Beyond the first 256 names, which callers may have made up, all others are one.
        """
        sums = self._routes.get(route)
        if sums is None:
            name = route if len(self._routes) < _MOST_ROUTES else OTHERS
            sums = self._routes.setdefault(name, _RouteSum())
        sums.add(call, usage)

    def report(self) -> EconomyReport:
        """Return where things stand."""
        routes = [sums.economy(route) for route, sums in self._routes.items()]
        return EconomyReport(tuple(sorted(routes, key=lambda one: -one.total_tokens)))


class _RouteSum:
    def __init__(self) -> None:
        self._requests = 0
        self._parts: dict[str, float] = dict.fromkeys((*PARTS, "answer"), 0.0)
        self._cached_tokens = 0
        self._constant_tokens = 0.0
        self._constant_cached_tokens = 0.0
        self._prefixes = FrequentPrefixes(CONSTANT_SHARE)
        self._lengths = AnswerLengths()

    def add(self, call: Call, usage: Usage) -> None:
        divided = weigh_parts(call.body, self._prefixes)
        scale = usage.prompt_tokens / (divided.total or 1.0)
        for part, weight in divided.weights.items():
            self._parts[part] += weight * scale
        constant = divided.constant * scale
        self._requests += 1
        self._parts["answer"] += usage.completion_tokens
        self._cached_tokens += usage.cached_tokens
        self._constant_tokens += constant
        # Prefix caches begin at the first token, as the constant part does.
        self._constant_cached_tokens += min(constant, usage.cached_tokens)
        if call.max_tokens > 0 and call.body.get("n") in (None, 1):
            self._lengths.add(usage.completion_tokens, call.max_tokens)

    def economy(self, route: str) -> RouteEconomy:
        return RouteEconomy(
            route=route,
            requests=self._requests,
            part_tokens=dict(self._parts),
            cached_tokens=self._cached_tokens,
            constant_tokens=self._constant_tokens,
            constant_cached_tokens=self._constant_cached_tokens,
            advice=self._lengths.advice(),
        )
