"""One pass over all adapters against PEFT, one adapter after the other: time, and what they learned.

The same generated calls, batches, steps, first values, loss and optimizer on both sides. PEFT is
timed on a few adapters and multiplied; what those learned is judged on the calls written by hand,
beside the adapters of the one pass. There are twelve indicators; more adapters than that are the same
questions again under other names, each with first values of its own.

    .venv/bin/python -m benchmarks.train_vs_peft.run
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.star.machine import describe

from descant.cli.process import prepare_process
from descant.data import generate_calls, hand_written_calls, sample_indicators
from descant.evaluation import Predictions, Task, build_report, run_task
from descant.llm import LLM
from descant.model import LoadedModel, load_model
from descant.schema import Indicator, LabelledTranscript
from descant.text import Renderer, Tokenizer
from descant.training import (
    Clocks,
    Hyperparameters,
    Lessons,
    Method,
    Progress,
    train_one_pass,
    train_single,
)

MODEL = "smollm2-135m-instruct"
RESULTS = Path(__file__).parent.parent / "results"


def main() -> None:
    """Train both ways, judge, and write the table."""
    options = _options()
    settings = Hyperparameters(
        epochs=options.epochs, min_steps=1, learning_rate=options.learning_rate, seed=options.seed
    )
    indicators = _asked(options.adapters)
    rows = _labelled(generate_calls(options.calls, options.seed), indicators)
    measured = [each for each in indicators if each.name in options.measured]
    base = load_model(MODEL)
    # The first use of transformers and PEFT costs seconds, once and not once an adapter.
    __import__("descant.training.label_trainer")
    timed = {"one_pass": _timed(lambda: _one_pass(base, rows, indicators, settings, options.work))}
    for method in options.methods:
        timed[method] = _timed(
            lambda method=method: _single(base, rows, measured, settings, options.work, method)
        )
    seconds = {
        name: time_s if name == "one_pass" else time_s / len(measured) * len(indicators)
        for name, time_s in timed.items()
    }
    _write(
        {
            **describe(),
            "peft": version("peft"),
            "transformers": version("transformers"),
            "calls": len(rows),
            "tokens_a_call": _mean_tokens(base, rows),
            "adapters": len(indicators),
            "measured": [indicator.name for indicator in measured],
            "recipe": settings.to_json(),
            "measured_s": timed,
            "seconds": seconds,
            "ratios": {name: seconds[name] / seconds["one_pass"] for name in options.methods},
            "quality": _judge(measured, options.work, options.methods),
        },
        options.name,
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("runs/train_vs_peft"))
    parser.add_argument("--adapters", type=int, default=60)
    parser.add_argument("--calls", type=int, default=56)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--methods", nargs="*", default=["alora", "lora"])
    parser.add_argument("--measured", nargs="*", default=["greeting", "refund_offered"])
    parser.add_argument("--name", default="train_vs_peft", help="name of the result files")
    return parser.parse_args()


def _asked(count: int) -> list[Indicator]:
    samples = sample_indicators()
    rounds = [(at // len(samples) + 1, samples[at % len(samples)]) for at in range(count)]
    return [
        each
        if number == 1
        else replace(each, name=f"{each.name}_{number}", adapter=f"{each.name}_{number}")
        for number, each in rounds
    ]


def _labelled(
    rows: Sequence[LabelledTranscript], indicators: Sequence[Indicator]
) -> list[LabelledTranscript]:
    """Return the calls with the label of each question under all its names."""
    names = [sample.name for sample in sample_indicators()]
    source = {each.name: names[at % len(names)] for at, each in enumerate(indicators)}
    return [
        replace(row, labels={name: row.labels[of] for name, of in source.items()}) for row in rows
    ]


def _one_pass(
    base: LoadedModel,
    rows: Sequence[LabelledTranscript],
    indicators: Sequence[Indicator],
    settings: Hyperparameters,
    work: Path,
) -> None:
    train_one_pass(
        Lessons(base, MODEL, _renderer(base), rows, indicators, settings),
        work / "one_pass",
        clocks=_clocks(),
        on_progress=_say("one pass"),
    )


def _single(
    base: LoadedModel,
    rows: Sequence[LabelledTranscript],
    indicators: Sequence[Indicator],
    settings: Hyperparameters,
    work: Path,
    method: Method,
) -> None:
    train_single(
        Lessons(base, MODEL, _renderer(base), rows, indicators, settings),
        work / method,
        method=method,
        clocks=_clocks(),
        on_progress=_say(method),
    )


def _judge(
    indicators: Sequence[Indicator], work: Path, methods: Sequence[str]
) -> dict[str, dict[str, Any]]:
    answers: dict[str, Predictions] = {}
    task = Task("calls written by hand", hand_written_calls(), tuple(indicators))
    for name in ("one_pass", *methods):
        answers[name] = run_task(task, LLM(MODEL, adapters=work / name))
    return {
        name: {row["indicator"]: row["ours"] for row in report["indicators"]}
        | {"mean": report["mean_macro_f1"]["ours"]}
        for name, predictions in answers.items()
        for report in [build_report(indicators, predictions, {}, seed=0).to_json()]
    }


def _write(result: dict[str, Any], name: str) -> None:
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
    text = _table(result)
    (RESULTS / f"{name}.md").write_text(text)
    print(text)


def _table(result: dict[str, Any]) -> str:
    measured = result["measured"]
    lines = [
        f"# Training {result['adapters']} adapters: one pass against PEFT one by one",
        "",
        f"{result['calls']} generated calls of {result['tokens_a_call']:.0f} tokens, "
        f"{result['recipe']['epochs']} epochs; macro-F1 on the calls written by hand, 95 % intervals "
        f"in brackets. {result['date']}, commit {result['commit']}, {result['machine']}, "
        f"PEFT {result['peft']}, transformers {result['transformers']}.",
        "",
        f"| | seconds | times one pass | {' | '.join(measured)} | mean |",
        "|---|---:|---:|" + "---|" * (len(measured) + 1),
    ]
    for name, quality in result["quality"].items():
        cells = [_cell(quality[indicator]) for indicator in measured]
        label = "one pass" if name == "one_pass" else f"PEFT {name}, {len(measured)} measured"
        ratio = result["seconds"][name] / result["seconds"]["one_pass"]
        lines.append(
            f"| {label} | {result['seconds'][name]:.0f} | {ratio:.1f} "
            f"| {' | '.join(cells)} | {quality['mean']:.3f} |"
        )
    return "\n".join([*lines, ""])


def _cell(scored: dict[str, Any]) -> str:
    f1 = scored["macro_f1"]
    return f"{f1['value']:.3f} [{f1['low']:.3f}, {f1['high']:.3f}]"


def _mean_tokens(base: LoadedModel, rows: Sequence[LabelledTranscript]) -> float:
    renderer = _renderer(base)
    return fmean(len(renderer.render_transcript(row.transcript)) for row in rows)


def _renderer(base: LoadedModel) -> Renderer:
    return Renderer(Tokenizer.load(base.folder))


def _clocks() -> Clocks:
    return Clocks(time.perf_counter, lambda: datetime.now(tz=UTC))


def _timed(run: Callable[[], None]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def _say(name: str) -> Callable[[Progress], None]:
    def say(progress: Progress) -> None:
        print(
            f"{name} {progress.step}/{progress.num_steps} loss {fmean(progress.losses.values()):.3f} "
            f"{progress.remaining_s:.0f} s left",
            file=sys.stderr,
            flush=True,
        )

    return say


if __name__ == "__main__":
    prepare_process()
    main()
