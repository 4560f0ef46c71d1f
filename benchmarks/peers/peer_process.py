"""How a peer is measured: each set of settings in a process of its own, with a log beside its result."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
CORES = len(os.sched_getaffinity(0))

# Nothing may be fetched or reported; caches stay inside the environment of vLLM.
OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_CACHE_ROOT": str(ROOT / ".venv-vllm" / "cache"),
}

# By default vLLM keeps one core for its scheduler: half the machine where there are two.
ALL_CORES = {"VLLM_CPU_OMP_THREADS_BIND": f"0-{CORES - 1}", "VLLM_CPU_KVCACHE_SPACE": "4"}
DEFAULT_BINDING = {"VLLM_CPU_OMP_THREADS_BIND": "auto", "VLLM_CPU_KVCACHE_SPACE": "4"}


def embedded_model() -> Path:
    """Return the folder into which Descant unpacks its embedded model."""
    code = "from descant.model import load_model; print(load_model('smollm2-135m-instruct').folder)"
    return Path(ask_descant(code))


def ask_descant(code: str) -> str:
    """Return what a piece of Python prints in Descant's own environment."""
    python = ROOT / ".venv" / "bin" / "python"
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    if not python.exists():
        raise SystemExit(f"{python} is missing: run scripts/test once, or name the model.")
    found = subprocess.run(
        [python, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    if found.returncode:
        raise SystemExit(f"Descant's model could not be unpacked:\n{found.stderr}")
    return found.stdout.strip()


def measure_case(
    script: str, case: Mapping[str, Any], environment: Mapping[str, str], limit_s: float
) -> tuple[dict[str, Any] | None, str | None]:
    """Run one case in a new process; return its result, or None and the end of its log."""
    out = Path(case["out"])
    log = out.with_suffix(".log")
    out.unlink(missing_ok=True)
    inherited = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    print(f"Case {case['name']} ... (log: {log})", file=sys.stderr, flush=True)
    with log.open("w") as stream:
        subprocess.run(
            [sys.executable, str(Path(__file__).with_name(script))],
            input=json.dumps(case),
            text=True,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=inherited | OFFLINE | dict(environment),
            timeout=limit_s,
            check=False,
        )
    if not out.exists():
        return None, "\n".join(log.read_text().splitlines()[-30:])
    return json.loads(out.read_text()), None
