"""What the commands around the registry share: where it is, who asks, and how a version is written."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from descant.registry import Registry

DEFAULT_REGISTRY = "runs/registry"

RegistryOption = Annotated[
    str,
    typer.Option(
        "--registry",
        help="Folder, or postgresql://user@host/database?store=/folder.",
        envvar="DESCANT_REGISTRY",
    ),
]
UserOption = Annotated[
    str | None,
    typer.Option(
        "--user",
        help="Who the audit trail says it was. [default: who is logged in]",
        envvar="DESCANT_USER",
        show_default=False,
    ),
]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; the audit trail keeps it.")]
VersionArgument = Annotated[
    str, typer.Argument(help="NAME, NAME@alias or NAME@sha256:digits; a bare name: its champion.")
]

_SHORT = len("sha256:") + 12


def open_registry(location: str, user: str | None, *, creates: bool = False) -> Registry:
    """Return the registry there; see `Registry`."""
    from descant.registry import Registry

    return Registry(location, user=user or _logged_in(), now=_now, creates=creates)


def short(version: str | None) -> str:
    """Return as much of a version as it is usually called by; ``-`` for none."""
    return "-" if version is None else version[:_SHORT]


def minute(time: str) -> str:
    """Return an ISO 8601 time without what a person does not need."""
    return datetime.fromisoformat(time).astimezone(UTC).strftime("%Y-%m-%d %H:%M")


def _now() -> datetime:
    return datetime.now(UTC)


def _logged_in() -> str:
    try:
        return getpass.getuser()
    # A container may know of no user.
    except (OSError, KeyError):
        return "unknown"
