"""``descant promote`` and ``descant rollback``: what an alias means from now on."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from descant.cli.options import DEFAULT_MODEL, JsonOption, ModelOption
from descant.cli.registry import read_evidence
from descant.cli.registry_options import (
    DEFAULT_REGISTRY,
    ReasonOption,
    RegistryOption,
    UserOption,
    open_registry,
    short,
)

if TYPE_CHECKING:
    from descant.registry import AliasChange, Expected, Registry

_CHAMPION, _CHALLENGER = "champion", "challenger"

ExpectOption = Annotated[
    str | None,
    typer.Option(
        help="Only if the alias means this version now (sha256:digits), or 'nothing'.",
        show_default=False,
    ),
]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    example = "descant promote empathy@challenger --to champion --reason 'won 14 of 16 slices'"
    app.command(epilog=f"Example:  {example}")(promote)
    app.command(epilog="Example:  descant rollback empathy --reason 'complaints'")(rollback)


def promote(  # noqa: PLR0913 - an option each
    version: Annotated[
        str,
        typer.Argument(help="NAME@sha256:digits or NAME@alias; a bare name: its challenger."),
    ],
    reason: ReasonOption,
    to: Annotated[str, typer.Option(help="The alias.")] = _CHAMPION,
    evidence: Annotated[
        Path | None, typer.Option(help="JSON file to keep with it.", show_default=False)
    ] = None,
    expect: ExpectOption = None,
    policy: Annotated[
        Path | None, typer.Option(help="The rule of the release (TOML).", show_default=False)
    ] = None,
    champion: Annotated[
        str | None,
        typer.Option(help="What to compare with. [default: the champion]", show_default=False),
    ] = None,
    train: Annotated[
        Path | None, typer.Option(help="What a bag-of-words learns from.", show_default=False)
    ] = None,
    page: Annotated[
        Path | None, typer.Option(help="Write the gate's page here.", show_default=False)
    ] = None,
    force: Annotated[
        str | None,
        typer.Option(
            help="Do it without the gate; why. The audit trail keeps it.", show_default=False
        ),
    ] = None,
    model: ModelOption = DEFAULT_MODEL,
    registry: RegistryOption = DEFAULT_REGISTRY,
    user: UserOption = None,
    json: JsonOption = False,
) -> None:
    """Let an alias mean a version; servers that follow the registry answer from it within a second.

    What becomes champion has to pass the gate by a policy, or be forced with a reason.
    """
    kept = None if evidence is None else read_evidence(evidence)
    meant = version if "@" in version else f"{version}@{_CHALLENGER}"
    opened = open_registry(registry, user)
    expected = _expected(opened, version, expect)
    if to == _CHAMPION and force is None:
        from descant.cli.promotion_gate import GateOptions, pass_gate

        options = GateOptions(policy, champion, train, model, page)
        found = pass_gate(opened, meant, to, options)
        kept = {"gate": found} if kept is None else {"gate": found, "more": kept}
    change = opened.promote(
        meant, to, reason=reason, evidence=kept, forced_reason=force, expected=expected
    )
    _say(change, json)


def rollback(
    name: Annotated[str, typer.Argument(help="The adapter.")],
    reason: ReasonOption,
    alias: Annotated[str, typer.Option(help="The alias.")] = _CHAMPION,
    expect: ExpectOption = None,
    registry: RegistryOption = DEFAULT_REGISTRY,
    user: UserOption = None,
    json: JsonOption = False,
) -> None:
    """Let an alias mean what it meant before; again, and it goes back further."""
    opened = open_registry(registry, user)
    expected = _expected(opened, name, expect)
    _say(opened.rollback(name, alias, reason=reason, expected=expected), json)


def _expected(registry: Registry, name: str, expect: str | None) -> Expected:
    if expect is None:
        return ...
    return (
        None
        if expect == "nothing"
        else registry.record(f"{name.partition('@')[0]}@{expect}").version
    )


def _say(change: AliasChange, json: bool) -> None:
    from descant.cli.terminal import Terminal

    terminal = Terminal()
    if json:
        terminal.print_json(asdict(change))
        return
    moved = f"{short(change.before)} → {short(change.after)}"
    told = "means this already" if change.number is None else f"{moved} (change {change.number})"
    terminal.print(f"{change.name}@{change.alias}: {told}")
