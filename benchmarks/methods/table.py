"""The table of `benchmarks.methods.run`: macro-F1 with intervals, seconds; from the parts that are done.

    .venv/bin/python -m benchmarks.methods.table [--study star]

Macro-F1 of a method is its mean over seeds and indicators. Intervals come from drawing conversations, with
everything every method said about them: what is hard for all does not widen the interval of a difference.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.methods.arms import ARMS
from benchmarks.methods.rows import STUDIES
from benchmarks.star.machine import describe

from descant.evaluation import Estimate, bootstrap_interval
from descant.evaluation.measures import macro_f1
from descant.evaluation.statistics import FloatArray, IntArray

RESULTS = Path(__file__).parent.parent / "results"
AGAINST = "plain_lora"
Result = dict[str, Any]


def main() -> None:
    """Print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("runs/methods"))
    parser.add_argument("--studies", nargs="*", default=list(STUDIES))
    for study in parser.parse_args().studies:
        work = parser.parse_args().work / study
        runs = {arm: done(work / arm, arm) for arm in ARMS}
        _write(study, {arm: by_seed for arm, by_seed in runs.items() if by_seed})


def done(folder: Path, arm: str) -> dict[int, list[Result]]:
    """Return the results of a method by seed; seeds that lack an indicator are left out."""
    by_seed = {}
    for path in sorted(folder.glob("*"), key=lambda path: path.name):
        parts = [part / "result.json" for part in sorted(path.iterdir())]
        if parts and all(part.exists() for part in parts):
            by_seed[int(path.name)] = [json.loads(part.read_text()) for part in parts]
    most = max((len(parts) for parts in by_seed.values()), default=0)
    return {seed: parts for seed, parts in by_seed.items() if len(parts) == most}


def _write(study: str, runs: dict[str, dict[int, list[Result]]]) -> None:
    answers = {arm: [_answers(parts) for parts in seeds.values()] for arm, seeds in runs.items()}
    layout = _Layout(answers)
    tallies = {arm: layout.tallies(seeds) for arm, seeds in answers.items()}
    rows = {arm: _row(tallies, arm, runs[arm]) for arm in runs}
    result = {
        **describe(),
        "trained_at": sorted({p["commit"] for s in runs.values() for ps in s.values() for p in ps}),
        "study": study,
        "conversations": len(layout.ids),
        "indicators": layout.indicators,
        "methods": rows,
    }
    (RESULTS / f"methods_{study}.json").write_text(json.dumps(result, indent=1) + "\n")
    text = _text(result)
    (RESULTS / f"methods_{study}.md").write_text(text)
    print(text)


def _answers(parts: list[Result]) -> list[list[Any]]:
    return [answer for part in parts for answer in part["answers"]]


class _Layout:
    """Where each conversation, indicator and label stands in a tally."""

    def __init__(self, answers: dict[str, list[list[list[Any]]]]):
        everything = [each for seeds in answers.values() for seed in seeds for each in seed]
        self.ids = sorted({each[0] for each in everything})
        self.indicators = sorted({each[1] for each in everything})
        labels = {each[2] for each in everything} | {each[3] for each in everything if each[3]}
        self.labels = sorted(labels)

    def tallies(self, seeds: list[list[list[Any]]]) -> IntArray:
        """Return [N, S, A, L, L + 1], right label by answer, last *unanswered*."""
        row = {name: at for at, name in enumerate(self.ids)}
        column = {name: at for at, name in enumerate(self.indicators)}
        label = {name: at for at, name in enumerate([*self.labels, None])}
        size = len(self.labels)
        shape = (len(row), len(seeds), len(column), size, size + 1)
        tallies = np.zeros(shape, dtype=np.int64)
        for at, answers in enumerate(seeds):
            for id_, indicator, expected, answer in answers:
                tallies[row[id_], at, column[indicator], label[expected], label[answer]] = 1
        return tallies


def _mean(tally: IntArray) -> FloatArray:
    """Return ``[B, S, A, L, L + 1]`` as ``[B]``: the mean over seeds and indicators with a score."""
    mean: FloatArray = np.nanmean(macro_f1(tally), axis=(1, 2))
    return mean


def _row(tallies: dict[str, IntArray], arm: str, seeds: dict[int, list[Result]]) -> dict[str, Any]:
    own = tallies[arm]
    by_seed = np.nanmean(macro_f1(own.sum(axis=0)), axis=1)
    by_indicator = np.nanmean(macro_f1(own.sum(axis=0)), axis=0)
    parts = [part for each in seeds.values() for part in each]
    num_seeds = len(seeds)
    return {
        "seeds": num_seeds,
        "macro_f1": vars(_estimate([own], _mean)),
        "of_each_seed": by_seed.tolist(),
        "of_each_indicator": by_indicator.tolist(),
        "less_plain_lora": _difference(tallies, arm),
        "train_s": sum(part["train_s"] for part in parts) / num_seeds,
        "score_s_per_conversation": sum(p["score_s"] / p["conversations"] for p in parts)
        / num_seeds,
    }


def _difference(tallies: dict[str, IntArray], arm: str) -> dict[str, float] | None:
    if arm == AGAINST or AGAINST not in tallies:
        return None
    split = tallies[arm].shape[1]
    pair = [tallies[arm], tallies[AGAINST]]
    return vars(_estimate(pair, lambda tally: _mean(tally[:, :split]) - _mean(tally[:, split:])))


def _estimate(parts: Sequence[IntArray], statistic: Any) -> Estimate:
    tallies = np.concatenate(parts, axis=1)
    interval = bootstrap_interval(tallies, statistic, seed=0, resamples=1000)
    assert interval is not None, "there are conversations"
    return Estimate(float(statistic(tallies.sum(axis=0)[None])[0]), *interval)


def _text(result: dict[str, Any]) -> str:
    methods = result["methods"]
    lines = [
        f"# {result['study']}: methods on the same rows",
        "",
        f"{result['conversations']} conversations judged, {len(result['indicators'])} indicators; "
        "macro-F1, mean over indicators and seeds, 95 % intervals in brackets; seconds of one core, for "
        f"all indicators. {result['date']}, trained at {', '.join(result['trained_at'])}, "
        f"{result['machine']}.",
        "",
        "| method | seeds | macro-F1 | less plain LoRA | each seed | seconds to learn "
        "| seconds a conversation |",
        "|---|---:|---|---|---|---:|---:|",
    ]
    for arm, row in methods.items():
        each = ", ".join(f"{value:.3f}" for value in row["of_each_seed"])
        lines.append(
            f"| {arm.replace('_', ' ')} | {row['seeds']} | {_cell(row['macro_f1'], '.3f')} "
            f"| {_cell(row['less_plain_lora'], '+.3f')} | {each} | {row['train_s']:.0f} "
            f"| {row['score_s_per_conversation']:.2g} |"
        )
    if len(result["indicators"]) > 1:
        lines += ["", *_by_indicator(result)]
    return "\n".join([*lines, ""])


def _by_indicator(result: dict[str, Any]) -> list[str]:
    methods = result["methods"]
    lines = [
        f"| indicator | {' | '.join(arm.replace('_', ' ') for arm in methods)} |",
        "|---|" + "---:|" * len(methods),
    ]
    for at, name in enumerate(result["indicators"]):
        cells = [f"{row['of_each_indicator'][at]:.3f}" for row in methods.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _cell(estimate: dict[str, float] | None, form: str) -> str:
    if estimate is None:
        return ""
    value, low, high = (format(estimate[key], form) for key in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


if __name__ == "__main__":
    main()
