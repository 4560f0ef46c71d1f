"""What a result was measured with: commit, date, processor, versions."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any


def describe() -> dict[str, Any]:
    """Return the fields that every result begins with."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    return {
        "commit": commit,
        "date": datetime.now(tz=UTC).date().isoformat(),
        "machine": f"{_processor()}, {os.cpu_count()} cores",
        "versions": {name: version(name) for name in ("descant", "torch")},
    }


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _stamp(source: Path, target: Path) -> None:
    result = describe() | json.loads(source.read_text())
    target.write_text(json.dumps(result, indent=1) + "\n")
    print(target, json.dumps(result))


if __name__ == "__main__":
    _stamp(Path(sys.argv[1]), Path(sys.argv[2]))
