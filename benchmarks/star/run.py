"""STAR: one-pass adapters, plain LoRA and a bag of words on the same rows; macro-F1 on dev.

The data is not part of the project: name its folder (RasaHQ/STAR with derived labels, see the
importer `descant.data.importers.star`). Everything trained stays in the work folder; finished parts are not
done again. Prints the table and writes results/star.json and results/star.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.star.machine import describe
from benchmarks.star.plain_lora import train_plain_lora

from descant.cli.process import prepare_process
from descant.data import HARD_INDICATORS, build_examples, read_star, split_of, star_indicators
from descant.data.splits import Fractions
from descant.evaluation import BagOfWords, Task, build_report, run_task
from descant.llm import LLM
from descant.model import load_model
from descant.schema import Indicator, LabelledTranscript
from descant.text import Renderer, Tokenizer
from descant.training import Clocks, Hyperparameters, Lessons, questions_for, train_one_pass

MODEL = "smollm2-135m-instruct"
EASY = (
    "agent_greeted",
    "agent_asked_name",
    "agent_offered_more_help",
    "outcome_success_message",
    "outcome_failure_message",
    "agent_asked_confirmation",
)
PLAIN = (
    "bank_asked_fraud_details",
    "bank_full_verification_before_disclosure",
    "user_reported_task_success",
)
RESULTS = Path(__file__).parent.parent / "results"


def main() -> None:
    """Train what is not trained yet, judge, and write the table."""
    options = _options()
    indicators = star_indicators(options.only or [*HARD_INDICATORS, *EASY])
    rows = subset(read_star(options.star, "train"), options.dialogues)
    dev = read_star(options.star, "dev")
    recipe = Hyperparameters(
        epochs=options.epochs,
        learning_rate=options.learning_rate,
        class_weight_power=options.class_weight_power,
        reading_cache_bytes=options.cache_gib << 30,
    )
    times = _times(options.work)
    ours = options.work / "one_pass"
    if "one_pass_s" not in times:
        started = time.perf_counter()
        _one_pass(rows, indicators, recipe, ours)
        _times(options.work, one_pass_s=time.perf_counter() - started)
    plain_recipe = replace(recipe, learning_rate=options.plain_learning_rate, min_steps=1)
    for indicator in star_indicators(list(options.plain)):
        if f"plain_{indicator.name}_s" not in times:
            started = time.perf_counter()
            _plain(rows, indicator, plain_recipe, options.work / "plain")
            _times(options.work, **{f"plain_{indicator.name}_s": time.perf_counter() - started})
    report = _judge(rows, dev, indicators, options)
    _write(report, options, recipe, plain_recipe, len(rows), len(dev))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--star", type=Path, required=True, help="folder of the data")
    parser.add_argument("--work", type=Path, default=Path("runs/star"))
    parser.add_argument("--dialogues", type=int, default=1500)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--class-weight-power", type=float, default=1.0)
    parser.add_argument("--cache-gib", type=int, default=14, help="readings kept in memory")
    parser.add_argument("--plain-learning-rate", type=float, default=5e-4)
    parser.add_argument("--only", nargs="*", help="these indicators instead of the 14")
    parser.add_argument("--name", default="star", help="name of the result files")
    parser.add_argument("--plain", nargs="*", default=PLAIN, help="indicators for plain LoRA")
    return parser.parse_args()


def subset(rows: list[LabelledTranscript], count: int) -> list[LabelledTranscript]:
    """Return a part that depends on ids alone, not on the order of the file."""
    fractions = Fractions(count / len(rows), 0.0, 1 - count / len(rows))
    chosen = [row for row in rows if split_of(row.transcript.id, fractions) == "train"]
    rest = [row for row in rows if split_of(row.transcript.id, fractions) != "train"]
    rest.sort(key=lambda row: row.transcript.id)
    return [*chosen, *rest[: max(0, count - len(chosen))]]


def _one_pass(
    rows: list[LabelledTranscript],
    indicators: tuple[Indicator, ...],
    recipe: Hyperparameters,
    folder: Path,
) -> None:
    base = load_model(MODEL)
    renderer = Renderer(Tokenizer.load(base.folder))
    train_one_pass(
        Lessons(base, MODEL, renderer, rows, indicators, recipe),
        folder,
        clocks=Clocks(time.perf_counter, lambda: datetime.now(tz=UTC)),
        resume=(folder / ".checkpoint").is_dir(),
        on_progress=lambda p: _say(
            f"one pass {p.step}/{p.num_steps} loss {p.mean_loss or 0.0:.3f} "
            f"{p.remaining_s / 60:.1f} min left"
        ),
    )


def _plain(
    rows: list[LabelledTranscript], indicator: Indicator, recipe: Hyperparameters, folder: Path
) -> None:
    base = load_model(MODEL)
    renderer = Renderer(Tokenizer.load(base.folder))
    [question] = questions_for([indicator], renderer)
    examples = build_examples(rows, [indicator], renderer, base.config.max_positions - 16)
    train_plain_lora(
        base,
        question,
        examples,
        recipe,
        folder,
        lambda step, total, loss: _say(f"plain {indicator.name} {step}/{total} loss {loss:.3f}"),
    )


def _judge(
    rows: list[LabelledTranscript],
    dev: list[LabelledTranscript],
    indicators: tuple[Indicator, ...],
    options: argparse.Namespace,
) -> dict[str, Any]:
    task = Task("STAR dev", dev, indicators)
    llm = LLM(MODEL, adapters=options.work / "one_pass")
    started = time.perf_counter()
    ours = run_task(task, llm)
    scoring_s = (time.perf_counter() - started) / len(dev)
    words = run_task(task, BagOfWords.fit(rows, indicators, seed=0))
    report = build_report(indicators, ours, {"bag of words": words}, seed=0).to_json()
    report["scoring_s_per_conversation"] = scoring_s
    if options.plain:
        report["plain_lora"] = {"indicators": _judge_plain(dev, options)}
    return report


def _judge_plain(
    dev: list[LabelledTranscript], options: argparse.Namespace
) -> list[dict[str, Any]]:
    # Each adapter reads for itself; what has no label for it need not be read.
    llm = LLM(MODEL, adapters=options.work / "plain")
    judged: list[dict[str, Any]] = []
    for indicator in star_indicators(list(options.plain)):
        rows = [row for row in dev if row.labels.get(indicator.name) is not None]
        answers = run_task(Task("STAR dev", rows, [indicator]), llm)
        judged += build_report([indicator], answers, {}, seed=0).to_json()["indicators"]
    return judged


def _write(
    report: dict[str, Any],
    options: argparse.Namespace,
    recipe: Hyperparameters,
    plain_recipe: Hyperparameters,
    num_rows: int,
    num_dev: int,
) -> None:
    result = {
        **describe(),
        "dialogues": num_rows,
        "dev_dialogues": num_dev,
        "recipe": recipe.to_json(),
        "plain_recipe": plain_recipe.to_json(),
        "times": _times(options.work),
        **report,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{options.name}.json").write_text(json.dumps(result, indent=1) + "\n")
    text = _table(result)
    (RESULTS / f"{options.name}.md").write_text(text)
    print(text)


def _table(result: dict[str, Any]) -> str:
    plain = {
        row["indicator"]: row["ours"] for row in result.get("plain_lora", {}).get("indicators", [])
    }
    lines = [
        "# STAR dev: macro-F1, 95 % intervals in brackets",
        "",
        f"{result['dialogues']} training dialogues, {result['dev_dialogues']} dev dialogues; "
        f"{result['date']}, commit {result['commit']}, {result['machine']}.",
        "",
        "| indicator | labelled | positive | one-pass aLoRA | bag of words | plain LoRA |",
        "|---|---|---|---|---|---|",
    ]
    for row in result["indicators"]:
        name = row["indicator"]
        words = row["baselines"]["bag of words"]
        lines.append(
            f"| {name} | {row['ours']['support']} | {row['ours']['positives']} "
            f"| {_cell(row['ours'])} | {_cell(words)} | {_cell(plain.get(name))} |"
        )
    mean = result["mean_macro_f1"]
    lines.append(f"| **mean** | | | **{mean['ours']:.3f}** | {mean['bag of words']:.3f} | |")
    times = ", ".join(f"{name[:-2]} {seconds:.0f} s" for name, seconds in result["times"].items())
    return "\n".join([*lines, "", f"Training: {times}.", ""])


def _cell(scored: dict[str, Any] | None) -> str:
    if scored is None or scored["macro_f1"] is None:
        return ""
    f1 = scored["macro_f1"]
    return f"{f1['value']:.3f} [{f1['low']:.3f}, {f1['high']:.3f}]"


def _times(work: Path, **more: float) -> dict[str, float]:
    path = work / "times.json"
    times: dict[str, float] = json.loads(path.read_text()) if path.exists() else {}
    if more:
        times |= more
        work.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(times))
    return times


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    prepare_process()
    main()
