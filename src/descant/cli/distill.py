"""``descant distill``: a teacher labels conversations, and a student is judged beside it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from descant.cli.distill_options import (
    AnswersOption,
    AnswerTokensOption,
    BudgetMoneyOption,
    BudgetTokensOption,
    ConcurrencyOption,
    LabelledOption,
    PriceInOption,
    PriceOutOption,
    SoftOption,
    StudentModelOption,
    StudentOption,
    TeacherModelOption,
    TeacherOption,
    TemperatureOption,
    TimeoutOption,
    Via,
    ViaOption,
    VotesOption,
)
from descant.cli.options import DEFAULT_MODEL, JsonOption, RequiredIndicatorsOption

if TYPE_CHECKING:
    from descant.distillation import ChatConfig, SourceRun, Teacher
    from descant.schema import Indicator


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    example = (
        "descant distill calls.jsonl --indicators indicators --teacher http://127.0.0.1:8000/v1 "
        "--model NAME --output labelled.jsonl"
    )
    app.command(epilog=f"Example:  {example}")(distill)


def distill(  # noqa: PLR0913 - an option each
    data: Annotated[Path, typer.Argument(help="Conversations, one JSON object a line.")],
    indicators: RequiredIndicatorsOption,
    teacher: TeacherOption,
    model: TeacherModelOption,
    output: LabelledOption,
    answers: AnswersOption = None,
    via: ViaOption = Via.CHAT,
    votes: VotesOption = 1,
    soft: SoftOption = False,
    temperature: TemperatureOption = None,
    max_answer_tokens: AnswerTokensOption = 64,
    concurrency: ConcurrencyOption = 8,
    timeout_s: TimeoutOption = 60.0,
    budget_tokens: BudgetTokensOption = None,
    budget_money: BudgetMoneyOption = None,
    price_in: PriceInOption = 0.0,
    price_out: PriceOutOption = 0.0,
    student: StudentOption = None,
    student_model: StudentModelOption = DEFAULT_MODEL,
    json: JsonOption = False,
) -> None:
    """Have a teacher answer every indicator about every conversation, within a budget.

    Conversations are sent to the teacher as they are. A key for it is read from the environment,
    DESCANT_TEACHER_KEY. Answers are kept as they come: after Ctrl-C, a kill or a spent budget the
    same command goes on where it was.
    """
    from descant.cli.loading import read_rows
    from descant.cli.teacher_run import KEY_VARIABLE, ask_teacher
    from descant.cli.terminal import Terminal
    from descant.data import write_jsonl
    from descant.distillation import ChatConfig, Limits, Prices, Source, with_verdicts
    from descant.schema import load_indicators

    terminal = Terminal()
    _check_output(data, output)
    rows, questions = read_rows(data), load_indicators(indicators)
    _check_labels(questions)
    if temperature is None:
        temperature = 1.0 if votes > 1 else 0.0
    config = ChatConfig(model, votes, soft, temperature, max_answer_tokens)
    source = Source(
        _teacher(via, config),
        teacher,
        os.environ.get(KEY_VARIABLE),
        answers or output.with_name(f"{output.name.split('.')[0]}.answers.jsonl"),
        Limits(budget_tokens, None if budget_money is None else Decimal(str(budget_money))),
        Prices(Decimal(str(price_in)), Decimal(str(price_out))),
        concurrency,
        timeout_s,
    )
    run = ask_teacher(terminal, source, [(row.transcript, questions) for row in rows])
    labelled = [with_verdicts(*pair) for pair in zip(rows, run.verdicts, strict=True)]
    write_jsonl(output, labelled)
    from descant.cli.distill_report import judge_teacher

    report = judge_teacher(terminal, rows, questions, run, student, student_model)
    if json:
        terminal.print_json(_as_json(output, run) | report.to_json())
    else:
        for part in (_as_text(output, run), *report.to_tables()):
            terminal.print(part)
    if run.asked.stopped is not None:
        raise run.asked.stopped


def _check_output(data: Path, output: Path) -> None:
    from descant.schema.errors import InvalidConfig

    if output.resolve() == data.resolve():
        raise InvalidConfig(
            f"{output} would lose the labels it has.",
            field="output",
            remedy="Name another file for the teacher's labels.",
        )


def _check_labels(indicators: Sequence[Indicator]) -> None:
    from descant.schema.errors import InvalidIndicator

    for indicator in indicators:
        if indicator.is_text:
            raise InvalidIndicator(
                f"A teacher chooses between labels; {indicator.name!r} has none.",
                field="kind",
                remedy="Leave it out of the folder of indicators.",
            )


def _teacher(via: Via, config: ChatConfig) -> Teacher:
    from descant.distillation import ChatTeacher, ScoreTeacher
    from descant.schema.errors import InvalidConfig

    if via is Via.CHAT:
        return ChatTeacher(config)
    if config.votes > 1:
        raise InvalidConfig("Adapters give the same answer each time.", field="votes")
    return ScoreTeacher(config.model, config.soft)


def _counts(run: SourceRun) -> Counter[str]:
    """Return how many questions were labelled, unanswered and are still to be asked."""
    verdicts = [verdict for each in run.verdicts for verdict in each.values()]
    return Counter(
        "missing" if verdict is None else "unanswered" if verdict.label is None else "labelled"
        for verdict in verdicts
    )


def _reasons(run: SourceRun) -> Counter[str]:
    return Counter(
        verdict.unanswered or ""
        for each in run.verdicts
        for verdict in each.values()
        if verdict is not None and verdict.label is None
    )


def _as_json(output: Path, run: SourceRun) -> dict[str, Any]:
    counts, stopped = _counts(run), run.asked.stopped
    return {
        "output": str(output),
        "conversations": len(run.verdicts),
        **{name: counts[name] for name in ("labelled", "unanswered", "missing")},
        "reasons": dict(_reasons(run)),
        "given_up": dict(run.asked.given_up),
        "stopped": None if stopped is None else stopped.code,
        "spent": {
            "tokens_read": run.spent.read_tokens,
            "tokens_written": run.spent.written_tokens,
            "money": float(run.spent.money),
        },
    }


def _as_text(output: Path, run: SourceRun) -> str:
    from descant.cli.teacher_run import spending

    counts = _counts(run)
    lines = [
        f"{counts['labelled']:,} labels for {len(run.verdicts):,} conversations, "
        f"{counts['unanswered']:,} unanswered, {counts['missing']:,} not asked",
        f"So far: {spending(run.spent)}",
        f"Written to {output}",
    ]
    for title, reasons in (("unanswered", _reasons(run)), ("given up", run.asked.given_up)):
        lines += [f"  {count:,} {title}: {text}" for text, count in reasons.most_common(5)]
    return "\n".join(lines)
