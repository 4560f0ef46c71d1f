"""The figures of `run.py` as a table: what must hold, ours, and the peer's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Result = Mapping[str, Any]
_MB = 1e6


@dataclass(frozen=True)
class Figure:
    """One row: where it stands in a result, how it is written, and what it must be."""

    label: str
    path: tuple[str, ...]
    unit: str
    factor: float
    must: float | None = None
    is_floor: bool = False
    """Whether it must be at least that, not at most."""

    def value(self, result: Result) -> float | str:
        """Return the figure, or why it is absent."""
        found: Any = result
        for name in self.path:
            if "absent" in found:
                return str(found["absent"])
            found = found[name]
        return float(found) * self.factor

    def holds(self, value: float | str) -> str:
        """Return whether it is as it must be."""
        if self.must is None or isinstance(value, str):
            return ""
        return "yes" if (value >= self.must if self.is_floor else value <= self.must) else "**no**"

    def must_text(self) -> str:
        """Return the bound."""
        return "" if self.must is None else f"{'≥' if self.is_floor else '≤'} {_text(self.must)}"


def _ms(label: str, *path: str, must: float | None = None) -> Figure:
    return Figure(label, path, "ms", 1e3, must)


def _count(label: str, *path: str, must: float | None = None) -> Figure:
    return Figure(label, path, "", 1.0, must)


FIGURES = (
    _ms("added p50, one client", "one_client", "added_p50_s"),
    _ms("added p99, one client", "one_client", "added_p99_s", must=1.5),
    _ms("added p50, 64 clients, 20 ms upstream", "many_clients", "added_p50_s"),
    _ms("added p99, 64 clients, 20 ms upstream", "many_clients", "added_p99_s", must=40.0),
    Figure("requests/s on one core", ("capacity", "rate"), "", 1.0, 1000.0, is_floor=True),
    _ms("processor time a request then", "capacity", "cpu_s_per_request"),
    _count("failed meanwhile", "capacity", "failed", must=0.0),
    _ms("added time to first token, p50", "streams", "added_first_p50_s", must=2.0),
    _ms("added time to first token, p99", "streams", "added_first_p99_s"),
    _ms("added between tokens, p99", "streams", "added_gap_p99_s", must=1.0),
    _count("streams that lost a piece", "streams", "incomplete", must=0.0),
    Figure("memory idle", ("memory", "idle_bytes"), "MB", 1 / _MB),
    Figure("memory under load", ("memory", "load_bytes"), "MB", 1 / _MB, 120.0),
    Figure("growth under load", ("memory", "growth_bytes_per_minute"), "MB/min", 1 / _MB, 1.0),
    Figure("memory after load", ("memory", "after_bytes"), "MB", 1 / _MB),
    *(
        Figure(
            f"requests/s at added p99 ≤ {bound * 1e3:g} ms",
            ("frontier", "rate_at_added_p99_s", str(bound)),
            "",
            1.0,
        )
        for bound in (0.001, 0.005, 0.01, 0.05, 0.1)
    ),
)


def table(result: Result) -> str:
    """Return the Markdown page of a run."""
    names = list(result["gateways"])
    lines = [
        "# What the gateway adds",
        "",
        f"{result['date']}, commit {result['commit']}, {result['machine']}. {_how(result)}",
        "",
        "| figure | must | " + " | ".join(f"{name} | holds" for name in names) + " |",
        "|---|---|" + "---:|---|" * len(names),
        *(_row(figure, [result["gateways"][name] for name in names]) for figure in FIGURES),
    ]
    absences = [
        f"{name}: {found['absent']}"
        for name, found in result["gateways"].items()
        if "absent" in found
    ]
    return "\n".join([*lines, "", *absences]).rstrip() + "\n"


def _row(figure: Figure, results: list[Result]) -> str:
    cells: list[str] = []
    for found in results:
        value = figure.value(found)
        told: Callable[[float], str] = lambda number: f"{_text(number)} {figure.unit}".strip()  # noqa: E731
        cells += ["-" if isinstance(value, str) else told(value), figure.holds(value)]
    return f"| {figure.label} | {figure.must_text()} | " + " | ".join(cells) + " |"


def _text(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _how(result: Result) -> str:
    how = result["how"]
    return (
        f"Gateway alone on one core, mock upstream and client on {how['other_cores']} other(s); "
        f"added = through the gateway - direct, {how['rounds']} alternating rounds of "
        f"{how['seconds']:g} s a side, medians of rounds."
    )
