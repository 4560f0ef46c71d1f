"""The options of ``descant serve``, in the groups that its help shows."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from descant.cli.options import DEFAULT_ADAPTERS

_MODELS, _MEMORY, _LIMITS, _FILES = "Models", "Memory and threads", "Limits", "Files"
_TRIAL = "Challengers on live traffic"


class DealBy(StrEnum):
    """What is dealt to a canary."""

    CONVERSATION = "conversation"
    TENANT = "tenant"


HostOption = Annotated[str, typer.Option(help="Address to listen on.")]
PortOption = Annotated[
    int, typer.Option(min=0, max=65535, help="Port to listen on; 0 picks a free one.")
]
ServedNameOption = Annotated[
    str | None,
    typer.Option(
        help="What the API calls the base model.",
        show_default="the model as given",
        rich_help_panel=_MODELS,
    ),
]
ServedAdaptersOption = Annotated[
    Path | None,
    typer.Option(
        help="Folder with one folder for each adapter.",
        envvar="DESCANT_ADAPTERS",
        show_default=f"{DEFAULT_ADAPTERS} where there is one",
        rich_help_panel=_MODELS,
    ),
]
FollowOption = Annotated[
    str | None,
    typer.Option(
        "--registry",
        help="Serve the champion of every adapter in this registry, and follow its changes.",
        envvar="DESCANT_REGISTRY",
        show_default="none",
        rich_help_panel=_MODELS,
    ),
]
AdapterRootOption = Annotated[
    list[Path] | None,
    typer.Option(
        help="Where else adapters loaded over HTTP may lie; may be given several times.",
        show_default=False,
        rich_help_panel=_MODELS,
    ),
]
PreloadOption = Annotated[
    bool,
    typer.Option(
        "--preload/--no-preload",
        help="Load every adapter at the start, or each when it is first used.",
        rich_help_panel=_MODELS,
    ),
]
KvCacheOption = Annotated[
    float, typer.Option(min=0.0, help="For keys and values.", rich_help_panel=_MEMORY)
]
AdapterOption = Annotated[
    float, typer.Option(min=0.0, help="For adapters that compute.", rich_help_panel=_MEMORY)
]
AdapterHostOption = Annotated[
    float, typer.Option(min=0.0, help="For adapters kept at hand.", rich_help_panel=_MEMORY)
]
ThreadsOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Threads that compute.",
        show_default="one a core",
        rich_help_panel=_MEMORY,
    ),
]
StepOption = Annotated[
    int,
    typer.Option(
        min=1,
        help="Tokens that a step computes at most: more read a long prompt quicker, fewer let "
        "running answers wait less beside it.",
        rich_help_panel=_MEMORY,
    ),
]
DraftOption = Annotated[
    int,
    typer.Option(
        min=0,
        help="Tokens guessed at a time from what a greedy answer has said before; "
        "answers stay the same.",
        rich_help_panel=_MEMORY,
    ),
]
MaxRequestsOption = Annotated[
    int,
    typer.Option(min=1, help="Requests waiting or running; more get 429.", rich_help_panel=_LIMITS),
]
MaxRequestOption = Annotated[
    float, typer.Option(min=0.0, help="Larger bodies get 413.", rich_help_panel=_LIMITS)
]
DrainOption = Annotated[
    float,
    typer.Option(
        min=0.0,
        help="Seconds that running requests have after the first signal.",
        rich_help_panel=_LIMITS,
    ),
]
KeysOption = Annotated[
    Path | None,
    typer.Option(
        help="TOML file of API keys.",
        show_default="everybody may ask",
        rich_help_panel=_FILES,
    ),
]
BatchesOption = Annotated[
    Path | None,
    typer.Option(
        help="Folder for /v1/files and /v1/batches.",
        show_default="not offered",
        rich_help_panel=_FILES,
    ),
]
ShadowOption = Annotated[
    float,
    typer.Option(
        min=0.0,
        max=1.0,
        help="Share of scorecards that challengers are asked for too; nobody sees their answers.",
        rich_help_panel=_TRIAL,
    ),
]
CanaryOption = Annotated[
    float,
    typer.Option(
        min=0.0,
        max=1.0,
        help="Share of scorecards that challengers answer, and champions are asked for too.",
        rich_help_panel=_TRIAL,
    ),
]
DealOption = Annotated[
    DealBy,
    typer.Option(
        "--deal-by",
        help="Deal conversations, or tenants: the same one always goes the same way.",
        rich_help_panel=_TRIAL,
    ),
]
TrialLogOption = Annotated[
    Path | None,
    typer.Option(
        help="File to append both answers to, without what was said; see descant trial.",
        show_default=False,
        rich_help_panel=_TRIAL,
    ),
]
RequestLogOption = Annotated[
    Path | None,
    typer.Option(help="File to append one JSON line per request to.", rich_help_panel=_FILES),
]
