"""``descant judge``: how far a model that is to judge texts agrees with people."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from descant.cli.endpoint_options import (
    DEFAULT_ANSWERS,
    AnswersFolderOption,
    AnswerTokensOption,
    BudgetMoneyOption,
    BudgetTokensOption,
    ConcurrencyOption,
    KeyEnvOption,
    PriceInOption,
    PriceOutOption,
    TimeoutOption,
)
from descant.cli.options import JsonOption

if TYPE_CHECKING:
    from descant.release import JudgeMeasurement

DEFAULT_MEASUREMENTS = Path("runs/judges")


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example:  descant judge pairs.jsonl --endpoint judge.toml")(judge)


def judge(  # noqa: PLR0913 - an option each
    pairs: Annotated[
        Path,
        typer.Argument(
            help="Pairs that people have labelled, a line each: id, turns, question, expected, first, "
            "second, label (first, second or tie)."
        ),
    ],
    endpoint: Annotated[
        str, typer.Option(help="The judge: ADDRESS#MODEL of a chat model, or its file (.toml).")
    ],
    measurements: Annotated[
        Path, typer.Option(help="Folder in which measurements are kept, for descant gate.")
    ] = DEFAULT_MEASUREMENTS,
    answers: AnswersFolderOption = DEFAULT_ANSWERS,
    key_env: KeyEnvOption = None,
    max_answer_tokens: AnswerTokensOption = 64,
    concurrency: ConcurrencyOption = 8,
    timeout_s: TimeoutOption = 60.0,
    budget_tokens: BudgetTokensOption = None,
    budget_money: BudgetMoneyOption = None,
    price_in: PriceInOption = 0.0,
    price_out: PriceOutOption = 0.0,
    json: JsonOption = False,
) -> None:
    """Have a judge compare texts that people have compared, and keep how far it agrees with them.

    Every pair is judged in both orders; a verdict that changes with the order is a tie.
    """
    from descant.cli.endpoints import AddressOptions, Endpoints
    from descant.cli.terminal import Terminal
    from descant.release import identity_of, measure, read_labelled_pairs, write_measurement

    terminal, labelled = Terminal(), read_labelled_pairs(pairs)
    options = AddressOptions(
        key_env,
        False,
        max_answer_tokens,
        concurrency,
        timeout_s,
        price_in,
        price_out,
        budget_tokens,
        budget_money,
    )
    endpoints = Endpoints(answers, options)
    plan = endpoints.required(endpoint)
    judged = endpoints.judge(terminal, plan, [each.pair for each in labelled])
    found = measure(identity_of(plan, labelled), labelled, judged)
    path = write_measurement(measurements, found)
    if json:
        terminal.print_json(found.to_json() | {"path": str(path)})
    else:
        terminal.print(_told(found), f"Kept in {path}")


def _told(measurement: JudgeMeasurement) -> str:
    found = measurement.agreement
    kappa, bound = found.kappa, found.lower_bound
    said = (
        "not defined" if kappa is None else f"{kappa.value:.2f} [{kappa.low:.2f}, {kappa.high:.2f}]"
    )
    shown = (
        "" if bound is None else f"; at least {bound:.2f} is shown, which is what a gate looks at"
    )
    return (
        f"{found.pairs} pairs: the judge agrees with people on {found.agreed:.0%}; Cohen's kappa {said}"
        f"{shown}. {found.depends_on_order} verdicts depend on the order, {found.unjudged} pairs were "
        "not judged."
    )
