"""Student against teacher against the labels people gave, and what each of the two cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from descant.cli.loading import load_llm
from descant.distillation import Verdict, with_verdicts
from descant.evaluation import (
    Completer,
    EvaluationReport,
    MeanComparison,
    Task,
    build_report,
    compare_paired,
    run_task,
)
from descant.schema import (
    Answer,
    Indicator,
    LabelledTranscript,
    Scorecard,
    Transcript,
    Usage,
    unanswered,
)

if TYPE_CHECKING:
    from rich.console import RenderableType

    from descant.cli.terminal import Terminal
    from descant.distillation import SourceRun

Verdicts = Mapping[str, Verdict | None]


@dataclass
class Student:
    """A completer that is asked once about a conversation and adds up what that took."""

    completer: Completer
    asked: Mapping[str, Sequence[Indicator]]
    """By conversation."""
    cards: dict[str, Scorecard] = field(default_factory=dict)

    def score(self, transcript: Transcript, indicators: Sequence[Indicator], /) -> Scorecard:
        """Return answers to all that it is asked about this conversation."""
        if transcript.id not in self.cards:
            card = self.completer.score(transcript, self.asked[transcript.id])
            self.cards[transcript.id] = card
        return self.cards[transcript.id]

    @property
    def tokens_read(self) -> int:
        """Tokens that went through the model."""
        return sum(card.usage.tokens_read for card in self.cards.values())

    @property
    def time_s(self) -> float:
        """Time it took."""
        return sum(card.usage.time_s for card in self.cards.values())


@dataclass(frozen=True)
class DistillReport:
    """Who agrees with whom; None where there is nothing to compare."""

    on_gold: EvaluationReport | None
    """Student and teacher, or the teacher alone, on the labels of the file."""
    on_teacher: EvaluationReport | None
    """The student on the teacher's labels."""
    comparison: MeanComparison | None
    """Student and teacher on the labels of the file."""
    run: SourceRun
    student: Student | None

    def to_json(self) -> dict[str, Any]:
        """Return plain dictionaries and lists."""
        student = self.student
        return {
            "on_gold": self.on_gold and self.on_gold.to_json(),
            "on_teacher": self.on_teacher and self.on_teacher.to_json(),
            "student_over_teacher": self.comparison and self.comparison.to_json(),
            "student": student
            and {
                "conversations": len(student.cards),
                "tokens_read": student.tokens_read,
                "time_s": student.time_s,
            },
        }

    def to_tables(self) -> list[RenderableType]:
        """Return what to print."""
        reports = [report for report in (self.on_gold, self.on_teacher) if report is not None]
        shown: list[RenderableType] = [report.to_table() for report in reports]
        if self.comparison is not None:
            shown.append(_kept(self.comparison))
        if self.student is not None:
            shown.append(self._cost_table(self.student))
        return shown

    def _cost_table(self, student: Student) -> Table:
        table = Table(title="Cost", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        table.add_column("who", overflow="fold")
        for heading in ("tokens read", "written", "money", "seconds"):
            table.add_column(heading, justify="right", no_wrap=True)
        spent = self.run.spent
        money = f"{spent.money:.4f}"
        teacher = [f"{spent.read_tokens:,}", f"{spent.written_tokens:,}", money, "-"]
        table.add_row("teacher, all its answers so far", *teacher)
        who = f"student, {len(student.cards):,} conversations on this machine"
        table.add_row(who, f"{student.tokens_read:,}", "0", "-", f"{student.time_s:.1f}")
        return table


def judge_teacher(
    terminal: Terminal,
    rows: Sequence[LabelledTranscript],
    indicators: Sequence[Indicator],
    run: SourceRun,
    adapters: Path | None,
    model: str,
) -> DistillReport:
    """Compare the teacher's labels with those of the file, and a student's with both."""
    verdicts = {row.transcript.id: v for row, v in zip(rows, run.verdicts, strict=True)}
    teacher = _Teacher(verdicts)
    gold = _task("labels of the file", rows, indicators, verdicts)
    taught_rows = [with_verdicts(row, verdicts[row.transcript.id]) for row in rows]
    taught = _task("labels of the teacher", taught_rows, indicators, verdicts)
    if adapters is None or taught is None:
        alone = None if gold is None else build_report(indicators, run_task(gold, teacher), {})
        return DistillReport(alone, None, None, run, None)
    asked = {id: [i for i in indicators if each[i.name]] for id, each in verdicts.items()}
    student = Student(load_llm(terminal, model, adapters), asked)
    with terminal.progress("Asking the student", "conversations") as advance:
        on_taught = run_task(taught, student, advance)
    on_teacher = build_report(indicators, on_taught, {})
    if gold is None:
        return DistillReport(None, on_teacher, None, run, student)
    ours, theirs = run_task(gold, student), run_task(gold, teacher)
    on_gold = build_report(indicators, ours, {"teacher": theirs})
    comparison = compare_paired(indicators, ours, theirs)
    return DistillReport(on_gold, on_teacher, comparison, run, student)


@dataclass(frozen=True)
class _Teacher:
    """A completer that says what the teacher has said."""

    verdicts: Mapping[str, Verdicts]

    def score(self, transcript: Transcript, indicators: Sequence[Indicator], /) -> Scorecard:
        said = self.verdicts[transcript.id]
        answers = tuple(_answer(indicator.name, said[indicator.name]) for indicator in indicators)
        return Scorecard(transcript.id, answers, Usage(0, 0, 0.0))


def _answer(name: str, verdict: Verdict | None) -> Answer:
    assert verdict is not None, "a task holds only what the teacher was asked"
    if verdict.label is None:
        return unanswered(name, verdict.unanswered or "no label")
    probabilities = verdict.probabilities or {verdict.label: 1.0}
    return Answer(name, verdict.label, probabilities, probabilities[verdict.label], None, "teacher")


def _task(
    name: str,
    rows: Sequence[LabelledTranscript],
    indicators: Sequence[Indicator],
    verdicts: Mapping[str, Verdicts],
) -> Task | None:
    """Return the labels of what the teacher was asked; None where there are none."""
    asked = [indicator.name for indicator in indicators]
    kept = []
    for row in rows:
        said = verdicts[row.transcript.id]
        labels = {n: row.labels[n] for n in asked if said[n] and row.labels.get(n) is not None}
        if labels:
            kept.append(replace(row, labels=labels))
    return Task(name, kept, indicators) if kept else None


def _kept(comparison: MeanComparison) -> str:
    pair = f"{comparison.first:.3f} of {comparison.second:.3f}"
    if comparison.ratio is None:
        return f"The student has {pair} of mean macro-F1."
    ratio = comparison.ratio
    return (
        f"The student keeps {ratio.value:.1%} [{ratio.low:.1%}, {ratio.high:.1%}] of the teacher's "
        f"mean macro-F1: {pair}, on {comparison.conversations:,} conversations."
    )
