"""The options of commands that ask an endpoint over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from descant.cli.distill_options import (
    AnswerTokensOption,
    BudgetMoneyOption,
    BudgetTokensOption,
    ConcurrencyOption,
    PriceInOption,
    PriceOutOption,
    SoftOption,
    TimeoutOption,
)

__all__ = [
    "DEFAULT_ANSWERS",
    "AnswerTokensOption",
    "AnswersFolderOption",
    "BudgetMoneyOption",
    "BudgetTokensOption",
    "ConcurrencyOption",
    "KeyEnvOption",
    "PriceInOption",
    "PriceOutOption",
    "SoftOption",
    "TimeoutOption",
]

DEFAULT_ANSWERS = Path("runs/answers")

AnswersFolderOption = Annotated[
    Path,
    typer.Option(
        "--answers",
        help="Folder in which answers of endpoints are kept; a run goes on with what is in it.",
        rich_help_panel="How it is asked",
    ),
]
KeyEnvOption = Annotated[
    str | None,
    typer.Option(
        help="Environment variable with the key for the address that is named.",
        rich_help_panel="How it is asked",
        show_default=False,
    ),
]
