"""``descant evaluate``: how well adapters judge, beside a bag of words."""

from __future__ import annotations

from collections.abc import Sequence
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
from descant.cli.options import (
    DEFAULT_ADAPTERS,
    DEFAULT_MODEL,
    AdaptersOption,
    JsonOption,
    ModelOption,
    RequiredIndicatorsOption,
)

if TYPE_CHECKING:
    from descant.cli.terminal import Terminal
    from descant.evaluation import Completer, Embedder, EvaluationReport, Task
    from descant.schema import LabelledTranscript


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    example = "descant evaluate test.jsonl --indicators indicators --train train.jsonl"
    app.command(epilog=f"Example:  {example}")(evaluate)


def evaluate(  # noqa: PLR0913 - an option each
    data: Annotated[Path, typer.Argument(help="Labelled conversations, one JSON object a line.")],
    indicators: RequiredIndicatorsOption,
    adapters: AdaptersOption = DEFAULT_ADAPTERS,
    train: Annotated[
        Path | None, typer.Option(help="What the bag-of-words baseline learns from.")
    ] = None,
    model: ModelOption = DEFAULT_MODEL,
    endpoint: Annotated[
        str | None,
        typer.Option(
            help="Judge this instead of adapters: the address of a descant serve (http://HOST/v1), "
            "ADDRESS#MODEL of a chat model, or an endpoint's file (.toml).",
            show_default=False,
        ),
    ] = None,
    embedder: Annotated[
        str | None,
        typer.Option(
            help="Compare texts by the embeddings of a model too: ADDRESS#MODEL, or its file (.toml).",
            show_default=False,
        ),
    ] = None,
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
    """Print F1 with 95 % intervals for every indicator, and how far its probabilities can be believed.

    With --train beside a baseline.
    """
    from descant.cli.endpoints import AddressOptions, Endpoints
    from descant.cli.loading import load_llm, read_rows
    from descant.cli.terminal import Terminal
    from descant.evaluation import Task
    from descant.schema import load_indicators

    terminal = Terminal()
    task = Task(data.stem, read_rows(data), load_indicators(indicators))
    learned_from = None if train is None else read_rows(train)
    check_apart(task, learned_from or ())
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
    endpoints = Endpoints(answers, options)
    endpoints.check((endpoint, embedder))
    vectors = None if embedder is None else endpoints.embedder(terminal, embedder)
    said = None
    if endpoint is not None:
        said = endpoints.ask(terminal, endpoints.required(endpoint), task)
    completer = said or load_llm(terminal, model, adapters)
    report = judge(terminal, task, completer, learned_from, vectors)
    if json:
        terminal.print_json(report.to_json() | {"endpoint": said and said.figures.to_json()})
    else:
        terminal.print(*report.to_tables())
        if said is not None:
            terminal.print(said.figures.to_text())


def judge(
    terminal: Terminal,
    task: Task,
    completer: Completer,
    learned_from: Sequence[LabelledTranscript] | None,
    embedder: Embedder | None = None,
) -> EvaluationReport:
    """Run a task on the completer and, where there is something to learn from, on a bag of words.

    `embedder` is for answers that are texts.

    Raises:
        InvalidData: a conversation to learn from is also one to be judged.
    """
    from descant.evaluation import BagOfWords, build_report, run_task

    check_apart(task, learned_from or ())
    with terminal.progress("Judging", "conversations") as advance:
        ours = run_task(task, completer, advance)
    baselines = {}
    if learned_from is not None:
        terminal.note(f"Fitting bag-of-words on {len(learned_from)} conversations")
        baselines["bag-of-words"] = run_task(task, BagOfWords.fit(learned_from, task.indicators))
    return build_report(task.indicators, ours, baselines, embedder=embedder)


def check_apart(task: Task, learned_from: Sequence[LabelledTranscript]) -> None:
    """Refuse to judge on what was learned from.

    Raises:
        InvalidData: names a conversation that is in both.
    """
    from descant.schema.errors import InvalidData

    judged = {row.transcript.id for row in task.rows}
    for row in learned_from:
        if row.transcript.id in judged:
            raise InvalidData(
                f"Conversation {row.transcript.id!r} is in the training data and is judged.",
                field="train",
                remedy="Judge on conversations that nothing was trained on.",
            )
