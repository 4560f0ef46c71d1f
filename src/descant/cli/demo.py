"""``descant demo``: the main job from end to end on the sample calls that come with the package."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from descant.cli.options import DEFAULT_MODEL, JsonOption, ModelOption

if TYPE_CHECKING:
    from descant.cli.terminal import Terminal
    from descant.evaluation import Completer
    from descant.schema import Indicator, LabelledTranscript, Scorecard, Transcript
    from descant.training import Hyperparameters

_NUM_OPENING_TURNS = 4


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example:  descant demo --calls 400 --output runs/demo")(demo)


def demo(
    calls: Annotated[
        int, typer.Option(min=8, help="How many calls to generate and train on.")
    ] = 184,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other calls.")] = 0,
    output: Annotated[Path, typer.Option(help="Folder for data, adapters and report.")] = Path(
        "runs/demo"
    ),
    model: ModelOption = DEFAULT_MODEL,
    json: JsonOption = False,
) -> None:
    """Generate sample calls, train 12 adapters on them, judge these on calls written by hand."""
    from descant.cli.evaluate import judge
    from descant.cli.loading import load_base
    from descant.cli.terminal import Terminal
    from descant.cli.train import train_adapters
    from descant.data import generate_calls, hand_written_calls, sample_indicators
    from descant.evaluation import Task
    from descant.llm import LLM

    terminal = Terminal()
    indicators = sample_indicators()
    learned, judged = generate_calls(calls, seed), hand_written_calls()
    terminal.note(
        f"{len(learned)} generated calls to train on, {len(judged)} written by hand to judge on"
    )
    write_data(output, indicators, learned, judged)
    adapters = output / "adapters"
    base = load_base(terminal, model)
    run = train_adapters(terminal, base, learned, indicators, demo_settings(seed), adapters)
    terminal.note(f"Trained {len(run.adapters)} adapters in {run.time_s:.1f} s")
    recorder = _Recorder(LLM(model, adapters=adapters))
    report = judge(terminal, Task("hand-written calls", judged, indicators), recorder, learned)
    result = {**report.to_json(), "training_s": run.time_s, "training_calls": len(learned)}
    write_report(output, result)
    if json:
        terminal.print_json(result)
        return
    terminal.print(report.to_table(), "")
    print_cards(terminal, judged, recorder.cards)
    _print_next_steps(terminal, output)


def demo_settings(seed: int) -> Hyperparameters:
    """Return settings that finish within a minute and a half on two cores."""
    from descant.training import Hyperparameters

    return Hyperparameters(
        rank=8,
        alpha=16.0,
        target_modules=("q_proj", "k_proj", "v_proj", "o_proj"),
        epochs=3,
        min_steps=1,
        learning_rate=3e-3,
        seed=seed,
    )


def write_data(
    output: Path,
    indicators: Sequence[Indicator],
    learned: Sequence[LabelledTranscript],
    judged: Sequence[LabelledTranscript],
) -> None:
    """Write the calls and indicators, so that the other commands can be tried on them."""
    from descant.data import write_jsonl
    from descant.schema import indicator_toml

    write_jsonl(output / "train.jsonl", learned)
    write_jsonl(output / "test.jsonl", judged)
    for indicator in indicators:
        _write(output / "indicators" / f"{indicator.name}.toml", indicator_toml(indicator))


def write_report(output: Path, result: dict[str, Any]) -> None:
    """Write ``report.json``."""
    import json as json_format

    _write(output / "report.json", json_format.dumps(result, indent=2, ensure_ascii=False) + "\n")


@dataclass(frozen=True)
class _Recorder:
    """A completer that keeps what another one answers."""

    completer: Completer
    cards: list[Scorecard] = field(default_factory=list)

    def score(self, transcript: Transcript, indicators: Sequence[Indicator], /) -> Scorecard:
        card = self.completer.score(transcript, indicators)
        self.cards.append(card)
        return card


def print_cards(
    terminal: Terminal, rows: Sequence[LabelledTranscript], cards: Sequence[Scorecard]
) -> None:
    """Print scorecards beside what people said: the worst one, one in the middle, the best one."""
    from descant.cli.cards import scorecard_table

    row_of = {row.transcript.id: row for row in rows}
    scored = sorted(cards, key=lambda card: _share_right(row_of[card.transcript_id], card))
    for at in sorted({0, len(scored) // 2, len(scored) - 1}):
        card = scored[at]
        row = row_of[card.transcript_id]
        terminal.print(_opening(row), scorecard_table(card, row.labels), "")


def _share_right(row: LabelledTranscript, card: Scorecard) -> float:
    labelled = [a for a in card.answers if row.labels.get(a.indicator) is not None]
    right = sum(answer.label == row.labels[answer.indicator] for answer in labelled)
    return right / max(len(labelled), 1)


def _opening(row: LabelledTranscript) -> str:
    turns = row.transcript.turns
    lines = [f"  {turn.speaker}: {turn.text}" for turn in turns[:_NUM_OPENING_TURNS]]
    return "\n".join([*lines, f"  ... {len(turns)} turns in all"])


def _write(path: Path, text: str) -> None:
    from descant.registry import replacing

    with replacing(path) as file:
        file.write(text.encode())


def _print_next_steps(terminal: Terminal, output: Path) -> None:
    adapters = f"--adapters {output}/adapters"
    for text in (
        "What to try next:",
        f"  descant score {output}/test.jsonl {adapters}",
        f"  descant serve {adapters}",
        f"  descant adapters {output}/adapters",
        f"  descant train init {output}/train.jsonl --output {output}/recipe.toml",
    ):
        terminal.print(text)
