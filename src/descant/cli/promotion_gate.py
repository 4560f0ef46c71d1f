"""The gate in front of a champion: one adapter's version against the one that is live."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from descant.cli.endpoint_options import DEFAULT_ANSWERS
from descant.cli.endpoints import Endpoints
from descant.cli.gate import refuse_unless_released
from descant.cli.gate_run import GateRun
from descant.cli.terminal import Terminal
from descant.release import load_policy
from descant.schema.errors import AdapterNotFound, InvalidConfig

if TYPE_CHECKING:
    from descant.registry import Registry


@dataclass(frozen=True)
class GateOptions:
    """How a version is judged before it becomes champion."""

    policy: Path | None
    champion: str | None
    """Whom to compare with where there is no champion yet, or another than it."""
    train: Path | None
    model: str
    page: Path | None


def pass_gate(registry: Registry, version: str, alias: str, options: GateOptions) -> dict[str, Any]:
    """Run the policy on a version and return the evidence to keep.

    Raises:
        InvalidConfig: there is no policy, or nothing to compare with.
        ReleaseRefused: the version may not take the champion's place; names the reasons.
    """
    if options.policy is None:
        raise InvalidConfig(
            f"What becomes {alias} is judged by a policy.",
            field="policy",
            remedy="Name one with --policy (docs/gate.md), or say with --force why not.",
        )
    name = version.partition("@")[0]
    champion = options.champion or _champion(registry, f"{name}@{alias}")
    policy = load_policy(options.policy)
    endpoints = Endpoints(DEFAULT_ANSWERS)
    run = GateRun(Terminal(), policy, options.model, options.train, endpoints, adapter=name)
    result = run.judge(_folder_of(registry, version), champion, None, champion_twice=False)
    if options.page is not None:
        run.write(result, options.page)
    refuse_unless_released(result)
    return result.without_texts().to_json()


def _folder_of(registry: Registry, version: str) -> str:
    return str(registry.folder(registry.record(version).version))


def _champion(registry: Registry, champion: str) -> str:
    try:
        return _folder_of(registry, champion)
    except AdapterNotFound as error:
        raise InvalidConfig(
            f"There is no {champion} to compare with.",
            field="champion",
            remedy="Name what answers today: --champion bag-of-words --train FILE, a file of answers "
            "or a folder; or say with --force why there is nothing.",
        ) from error
