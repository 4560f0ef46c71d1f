"""``descant cost``: what an API costs beside a machine of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from descant.cli.options import JsonOption

if TYPE_CHECKING:
    from rich.console import RenderableType

    from descant.cost import Case, CostComparison, PriceList


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    example = (
        "descant cost --measured fanout.json --conversations-per-day 20000 --tokens 1500 "
        "--questions 40 --api gpt-4o-mini --machine two-cores"
    )
    app.command(epilog=f"Example:  {example}")(cost)


def cost(  # noqa: PLR0913 - an option each
    measured: Annotated[
        Path | None,
        typer.Option(help="What descant bench fanout --json printed on the machine."),
    ] = None,
    conversations_per_day: Annotated[float, typer.Option(help="How many come in.")] = 10_000,
    tokens: Annotated[float, typer.Option(help="Of a conversation.")] = 1000,
    questions: Annotated[int, typer.Option(help="Asked of each.")] = 30,
    question_tokens: Annotated[
        float, typer.Option(help="Of a question, as a prompt says it to the API.")
    ] = 60,
    answer_tokens: Annotated[float, typer.Option(help="That the API writes for an answer.")] = 5,
    busy_hours: Annotated[float, typer.Option(help="Of a day, in which they come.")] = 24,
    peak: Annotated[float, typer.Option(help="The busiest hour over the mean one.")] = 2,
    latency_s: Annotated[float, typer.Option(help="The longest a conversation may take.")] = 5,
    api: Annotated[str, typer.Option(help="A name of the price list.")] = "gpt-4o-mini",
    machine: Annotated[str, typer.Option(help="A name of the price list.")] = "two-cores",
    prices: Annotated[
        Path | None, typer.Option(help="A price list (TOML) of your own. [default: Descant's]")
    ] = None,
    show_prices: Annotated[
        bool, typer.Option("--show-prices", help="Print the price list, to be copied and edited.")
    ] = False,
    page: Annotated[Path | None, typer.Option(help="Write a page with charts here.")] = None,
    json: JsonOption = False,
) -> None:
    """Compare the bill of a hosted model with that of a machine that was measured.

    A machine is paid for all day, and there are enough of them for the busiest hour.
    """
    from descant.cli.terminal import Terminal
    from descant.cost import Case, Workload, load_prices, read_speed, render_cost_page
    from descant.registry import replacing

    terminal = Terminal()
    if show_prices:
        terminal.print(_price_file(prices))
        return
    known = load_prices(prices)
    workload = Workload(
        conversations_per_day,
        tokens,
        questions,
        question_tokens,
        answer_tokens,
        busy_hours,
        peak,
        latency_s,
    )
    case = Case(
        workload,
        read_speed(_needed(measured)),
        known.api_price(api),
        known.machine_price(machine),
        known.overhead_share,
    )
    _warn_of_age(terminal.note, known, api, machine)
    found = case.compare()
    if page is not None:
        with replacing(page) as file:
            file.write(render_cost_page(case, known.currency, (api, machine)).encode())
    if json:
        terminal.print_json(found.to_json())
    else:
        terminal.print(*_tables(case, found, known.currency, api, machine))


def _needed(measured: Path | None) -> Path:
    from descant.schema.errors import InvalidConfig

    if measured is None:
        raise InvalidConfig(
            "There is no measurement of the machine.",
            field="measured",
            remedy="Run there: descant bench fanout --tokens 2000 --adapters 60 --json > fanout.json",
        )
    return measured


def _price_file(path: Path | None) -> str:
    from importlib.resources import files

    source = files("descant.cost") / "prices.toml" if path is None else path
    return source.read_text(encoding="utf-8").rstrip()


def _warn_of_age(note: object, known: PriceList, api: str, machine: str) -> None:
    from datetime import UTC, datetime

    from descant.cost import is_old

    assert callable(note)
    today = datetime.now(tz=UTC).date()
    for name, price in ((api, known.api_price(api)), (machine, known.machine_price(machine))):
        if is_old(price, today):
            note(f"The price of {name} is from {price.as_of}; look it up (--show-prices).")


def _tables(
    case: Case, found: CostComparison, currency: str, api: str, machine: str
) -> list[RenderableType]:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from descant.cost import sensitivities

    own = found.own_per_conversation
    bills = Table(title=f"{currency}, {found.machines} of {machine}", box=SIMPLE_HEAD)
    bills.add_column("for")
    for name in (api, machine):
        bills.add_column(name, justify="right", no_wrap=True)
    slow = "too slow"
    bills.add_row("1,000 conversations", *_pair(found.api_per_conversation, own, 1000))
    bills.add_row("  in one request each", f"{found.api_all_at_once * 1000:,.4f}", "")
    million = 1e6 / found.workload.tokens
    bills.add_row("1,000,000 tokens of them", *_pair(found.api_per_conversation, own, million))
    bills.add_row("one more question, 1,000", *_pair(found.api_one_more, found.own_one_more, 1000))
    moves = Table(title="The API costs so many times as much", box=SIMPLE_HEAD)
    moves.add_column("where this is")
    moves.add_column("half", justify="right")
    moves.add_column("twice", justify="right")
    for each in sensitivities(case):
        ends = [slow if end is None else f"{end:,.1f}" for end in (each.half, each.twice)]
        moves.add_row(each.name, *ends)
    return [bills, _sentence(found), moves]


def _pair(api: float, own: float | None, count: float) -> tuple[str, str]:
    return f"{api * count:,.4f}", "too slow" if own is None else f"{own * count:,.4f}"


def _sentence(found: CostComparison) -> str:
    seconds = f"{found.conversation_s:.2f} s a conversation"
    if not found.is_quick_enough:
        return f"{seconds}: longer than the {found.workload.latency_s:g} s it may take."
    at = found.break_even.conversations_per_day
    if at is None:
        return f"{seconds}. At no volume is the machine cheaper."
    assert found.ratio is not None and found.ratio_at_once is not None
    return (
        f"{seconds}, busy {found.utilisation:.1%} of the time. The API costs {found.ratio:,.1f} times "
        f"as much ({found.ratio_at_once:,.1f} times with all questions in one request); the machine is "
        f"cheaper from {at:,.0f} conversations a day on."
    )
