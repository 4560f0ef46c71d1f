"""``descant gate``: a candidate against the champion by a policy, and the page that says why."""

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
    SoftOption,
    TimeoutOption,
)
from descant.cli.options import DEFAULT_MODEL, JsonOption, ModelOption

if TYPE_CHECKING:
    from descant.cli.terminal import Terminal
    from descant.release import GateResult

ContestantHelp = (
    "A folder of adapters, a file of answers, bag-of-words (learns from --train), or an endpoint: the "
    "address of a descant serve (http://HOST/v1), ADDRESS#MODEL of a chat model, or its file (.toml)."
)


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    example = (
        "descant gate policy.toml --candidate runs/new/adapters --champion runs/old/adapters "
        "--page release.html"
    )
    app.command(epilog=f"Example:  {example}")(gate)


def gate(  # noqa: PLR0913 - an option each
    policy: Annotated[Path, typer.Argument(help="The rule of the release (TOML).")],
    candidate: Annotated[str, typer.Option(help=ContestantHelp)],
    champion: Annotated[str, typer.Option(help="What answers today; likewise.")],
    rival: Annotated[
        str | None, typer.Option(help="Shown beside them, and decides nothing; likewise.")
    ] = None,
    train: Annotated[Path | None, typer.Option(help="What a bag-of-words learns from.")] = None,
    champion_twice: Annotated[
        bool,
        typer.Option(
            "--champion-twice", help="Ask the champion again: how much it differs from itself."
        ),
    ] = False,
    page: Annotated[
        Path | None, typer.Option(help="Write the page here, and its JSON twin beside it.")
    ] = None,
    without_texts: Annotated[
        bool, typer.Option("--without-texts", help="Name conversations; do not show what was said.")
    ] = False,
    model: ModelOption = DEFAULT_MODEL,
    answers: AnswersFolderOption = DEFAULT_ANSWERS,
    key_env: KeyEnvOption = None,
    soft: SoftOption = False,
    max_answer_tokens: AnswerTokensOption = 64,
    concurrency: ConcurrencyOption = 8,
    timeout_s: TimeoutOption = 60.0,
    budget_tokens: BudgetTokensOption = None,
    budget_money: BudgetMoneyOption = None,
    price_in: PriceInOption = 0.0,
    price_out: PriceOutOption = 0.0,
    json: JsonOption = False,
) -> None:
    """Say whether a candidate may take the champion's place; exit code 4 where it may not.

    Files of answers are what descant score --json prints, or conversations labelled by descant
    distill, such as a large model's answers. Endpoints are asked within the budget; answers are kept as
    they come, and after Ctrl-C, a kill or a spent budget the same command goes on where it was.
    """
    from descant.cli.endpoints import AddressOptions, Endpoints
    from descant.cli.gate_run import GateRun
    from descant.cli.terminal import Terminal
    from descant.release import load_policy

    terminal = Terminal()
    options = AddressOptions(
        key_env,
        soft,
        max_answer_tokens,
        concurrency,
        timeout_s,
        price_in,
        price_out,
        budget_tokens,
        budget_money,
    )
    run = GateRun(terminal, load_policy(policy), model, train, Endpoints(answers, options))
    result = run.judge(candidate, champion, rival, champion_twice)
    result = result.without_texts() if without_texts else result
    if page is not None:
        run.write(result, page)
    if json:
        terminal.print_json(result.to_json())
    else:
        _show(terminal, result, page)
    refuse_unless_released(result)


def refuse_unless_released(result: GateResult) -> None:
    """Do nothing where the candidate may be released.

    Raises:
        ReleaseRefused: names the reasons.
    """
    from descant.schema.errors import ReleaseRefused

    if not result.is_released:
        raise ReleaseRefused(
            f"{result.decision.verdict}: {' '.join(result.decision.reasons[:3])}",
            remedy="See the page (--page) for every check.",
        )


def _show(terminal: Terminal, result: GateResult, page: Path | None) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title=f"{result.decision.task}: {result.decision.verdict}", box=SIMPLE_HEAD)
    table.add_column("check", overflow="fold")
    table.add_column("outcome", no_wrap=True)
    table.add_column("in words", overflow="fold")
    for check in result.decision.checks:
        table.add_row(check.name, check.outcome, check.reason)
    terminal.print(table)
    if page is not None:
        terminal.print(f"Written to {page}")
