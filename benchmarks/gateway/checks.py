"""What a drill must show, and whether it did."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.star.machine import describe


@dataclass(frozen=True)
class Check:
    """One thing that must hold."""

    what: str
    holds: bool
    seen: str


def publish(name: str, title: str, checks: Sequence[Check], more: dict[str, Any]) -> bool:
    """Print the table, write `NAME.json` and `.md` beside the results, return whether all hold.

    `more` has `results`, the folder, and `how`, one sentence; the rest goes into the JSON.
    """
    folder = Path(more.pop("results"))
    folder.mkdir(parents=True, exist_ok=True)
    result = {**describe(), **more, "checks": [asdict(check) for check in checks]}
    (folder / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
    lines = [
        f"# {title}",
        "",
        f"{result['date']}, commit {result['commit']}, {result['machine']}. {result['how']}",
        "",
        "| what must hold | holds | seen |",
        "|---|---|---|",
        *(f"| {c.what} | {'yes' if c.holds else '**no**'} | {c.seen} |" for c in checks),
    ]
    page = "\n".join(lines) + "\n"
    (folder / f"{name}.md").write_text(page)
    print(page)
    return all(check.holds for check in checks)
