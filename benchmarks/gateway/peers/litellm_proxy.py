"""LiteLLM's proxy, as it comes from PyPI, in `.venv-litellm`."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.gateway.child import ROOT, Command, free_port, started, wait_until_up
from benchmarks.gateway.gateways import KEY, MODEL, Place, Running, Upstream

VENV = ROOT / ".venv-litellm"
REQUIREMENTS = Path(__file__).with_name("litellm_requirements.txt")
_STARTS_WITHIN_S = 180.0
_QUIET = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_MODE": "PRODUCTION",
    "LITELLM_LOG": "ERROR",
    "DO_NOT_TRACK": "1",
    "MOCK_KEY": "sk-mock",
}


class CannotInstall(Exception):
    """The peer is not here, and why."""


@dataclass(frozen=True)
class LiteLLM:
    """One worker of the proxy, with a master key and no database."""

    name: str = "litellm"

    @contextlib.contextmanager
    def up(self, upstreams: Sequence[Upstream], place: Place) -> Iterator[Running]:
        """Run it for the length of the block.

        Raises:
            CannotInstall: pip could not.
        """
        install()
        config = place.folder / "litellm.yaml"
        # JSON is YAML, and needs no library for it.
        config.write_text(json.dumps(_config(upstreams), indent=1))
        port, log = free_port(), place.folder / "litellm.log"
        words = [str(VENV / "bin" / "litellm"), "--config", str(config), "--port", str(port)]
        words += ["--host", "127.0.0.1", "--num_workers", "1", "--telemetry", "False"]
        with started(Command(tuple(words), place.cores, log, _QUIET)) as process:
            url = f"http://127.0.0.1:{port}"
            wait_until_up(f"{url}/health/liveliness", process, log, _STARTS_WITHIN_S)
            yield Running(self.name, url, process.pid)


def install() -> None:
    """Make its environment if it is not there.

    Raises:
        CannotInstall: pip could not; the message has its last words.
    """
    stamp = VENV / "installed.txt"
    wanted = REQUIREMENTS.read_text()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    print(f"Installing LiteLLM into {VENV} (once, some minutes) ...", file=sys.stderr, flush=True)
    python = str(VENV / "bin" / "python")
    steps = (
        [sys.executable, "-m", "venv", str(VENV)],
        [python, "-m", "pip", "install", "--quiet", "--no-deps", "-r", str(REQUIREMENTS)],
    )
    for step in steps:
        done = subprocess.run(step, capture_output=True, text=True, check=False)
        if done.returncode:
            raise CannotInstall("LiteLLM cannot be installed: " + done.stderr.strip()[-300:])
    stamp.write_text(wanted)


def version() -> str:
    """Return the release that is asked for."""
    lines = REQUIREMENTS.read_text().splitlines()
    return next(line.partition("==")[2] for line in lines if line.startswith("litellm=="))


def _config(upstreams: Sequence[Upstream]) -> dict[str, object]:
    return {
        "model_list": [
            {"model_name": MODEL, "litellm_params": _parameters(upstream)} for upstream in upstreams
        ],
        "litellm_settings": {"telemetry": False, "request_timeout": 60, "set_verbose": False},
        "general_settings": {"master_key": KEY},
    }


def _parameters(upstream: Upstream) -> dict[str, object]:
    limits = {"tpm": upstream.tokens_per_minute, "rpm": upstream.requests_per_minute}
    return {
        "model": f"openai/{MODEL}",
        "api_base": f"{upstream.url}/v1",
        "api_key": "os.environ/MOCK_KEY",
        **{name: value for name, value in limits.items() if value is not None},
    }
