"""The options of ``descant distill``, in the groups that its help shows."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

_TEACHER, _BUDGET, _STUDENT = "How it is asked", "Budget", "Report"


class Via(StrEnum):
    """What a teacher offers."""

    CHAT = "chat"
    SCORES = "scores"


TeacherOption = Annotated[
    str, typer.Option(help="Address of an OpenAI-compatible API, like http://127.0.0.1:8000/v1.")
]
TeacherModelOption = Annotated[
    str, typer.Option("--model", help="The teacher's model; answers are kept under this name.")
]
LabelledOption = Annotated[Path, typer.Option(help="File for the labelled conversations.")]
AnswersOption = Annotated[
    Path | None,
    typer.Option(
        help="File in which answers are kept; a run goes on with what is in it.",
        show_default="beside the output, named .answers.jsonl",
    ),
]
ViaOption = Annotated[
    Via,
    typer.Option(
        help="Ask a chat model, or the adapters of another descant serve.",
        rich_help_panel=_TEACHER,
    ),
]
VotesOption = Annotated[
    int,
    typer.Option(
        min=1,
        help="Ask so often, each time with another seed; agreement becomes the label's weight.",
        rich_help_panel=_TEACHER,
    ),
]
SoftOption = Annotated[
    bool,
    typer.Option("--soft", help="Keep a probability for every label.", rich_help_panel=_TEACHER),
]
TemperatureOption = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        max=2.0,
        help="Of the teacher's answers.",
        show_default="0, with votes 1",
        rich_help_panel=_TEACHER,
    ),
]
AnswerTokensOption = Annotated[
    int,
    typer.Option(
        "--max-answer-tokens",
        min=1,
        help="The longest answer; more for a model that thinks first.",
        rich_help_panel=_TEACHER,
    ),
]
ConcurrencyOption = Annotated[
    int, typer.Option(min=1, help="Requests under way at once.", rich_help_panel=_TEACHER)
]
TimeoutOption = Annotated[
    float, typer.Option(min=0.1, help="For one reply, in seconds.", rich_help_panel=_TEACHER)
]
BudgetTokensOption = Annotated[
    int | None,
    typer.Option(
        min=0, help="Never take more tokens than that, read and written.", rich_help_panel=_BUDGET
    ),
]
BudgetMoneyOption = Annotated[
    float | None,
    typer.Option(min=0.0, help="Never spend more than that.", rich_help_panel=_BUDGET),
]
PriceInOption = Annotated[
    float, typer.Option(min=0.0, help="Of a million tokens read.", rich_help_panel=_BUDGET)
]
PriceOutOption = Annotated[
    float, typer.Option(min=0.0, help="Of a million tokens written.", rich_help_panel=_BUDGET)
]
StudentOption = Annotated[
    Path | None,
    typer.Option(
        help="Adapters to judge beside the teacher, on its labels and on those of the file.",
        rich_help_panel=_STUDENT,
    ),
]
StudentModelOption = Annotated[
    str,
    typer.Option(
        help="The base model of the student.", envvar="DESCANT_MODEL", rich_help_panel=_STUDENT
    ),
]
