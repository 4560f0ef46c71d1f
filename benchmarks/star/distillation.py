"""A student that never saw a label of people: STAR, teacher and student on the same base model.

    .venv/bin/python -m benchmarks.star.distillation --star FOLDER --teacher runs/star/one_pass

The teacher's adapters (`run.py` trains them on 1,500 dialogues with labels) are served on this machine; they
label dialogues they have not seen, softly, and the student learns from that alone. Judged on dev, where
there are labels of people: teacher, student, and the student's part of the teacher's macro-F1. All of it by
the commands a user has. Finished parts are not done again.
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.star.machine import describe
from benchmarks.star.run import EASY, MODEL, RESULTS, subset

from descant.data import HARD_INDICATORS, read_star, star_indicators, write_jsonl
from descant.schema import indicator_toml

NAMES = (*HARD_INDICATORS, *EASY)
RECIPE = """
base = "{model}"
indicators = "indicators"
output = "student"

[data]
train = "labelled.jsonl"

[training]
epochs = 3
learning_rate = 1e-3
class_weight_power = 0.0
reading_cache_bytes = {cache_bytes}
"""


def main() -> None:
    """Label, learn, judge, write."""
    options = _options()
    options.work.mkdir(parents=True, exist_ok=True)
    _write_data(options)
    with _teacher(options.teacher) as url:
        if not (options.work / "labelled.jsonl").exists():
            _distill(options.work, url, "unlabelled.jsonl", "labelled.jsonl")
        if not (options.work / "student").exists():
            _descant("train", options.work / "recipe.toml")
        report = json.loads(
            _distill(
                options.work,
                url,
                "dev.jsonl",
                "dev.labelled.jsonl",
                *("--student", options.work / "student", "--json"),
            )
        )
    result = {**describe(), "dialogues": options.dialogues, **report}
    (RESULTS / "star_distillation.json").write_text(json.dumps(result, indent=1) + "\n")
    text = _table(result)
    (RESULTS / "star_distillation.md").write_text(text)
    print(text)


def _table(result: dict[str, Any]) -> str:
    ratio = result["student_over_teacher"]["ratio"]
    means = result["on_gold"]["mean_macro_f1"]
    lines = [
        "# STAR: a student that saw no label of people",
        "",
        f"{result['dialogues']} dialogues labelled softly by the teacher's adapters; macro-F1 on the labels "
        f"of people, 95 % intervals in brackets. {result['date']}, commit {result['commit']}, "
        f"{result['machine']}.",
        "",
        f"**The student keeps {ratio['value']:.1%} of the teacher's macro-F1 "
        f"[{ratio['low']:.1%}, {ratio['high']:.1%}], conversations drawn in pairs.**",
        "",
        "| indicator | labelled | student | teacher |",
        "|---|---:|---|---|",
    ]
    for row in result["on_gold"]["indicators"]:
        own, teacher = row["ours"], row["baselines"]["teacher"]
        lines.append(f"| {row['indicator']} | {own['support']} | {_cell(own)} | {_cell(teacher)} |")
    lines.append(f"| **mean** | | **{means['ours']:.3f}** | **{means['teacher']:.3f}** |")
    return "\n".join([*lines, ""])


def _cell(scored: dict[str, Any]) -> str:
    f1 = scored["macro_f1"]
    return f"{f1['value']:.3f} [{f1['low']:.3f}, {f1['high']:.3f}]"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--star", type=Path, required=True, help="folder of the data")
    parser.add_argument("--teacher", type=Path, default=Path("runs/star/one_pass"))
    parser.add_argument("--work", type=Path, default=Path("runs/star_distillation"))
    parser.add_argument(
        "--taught", type=int, default=1500, help="dialogues the teacher learned from"
    )
    parser.add_argument("--dialogues", type=int, default=1500)
    return parser.parse_args()


def _write_data(options: argparse.Namespace) -> None:
    rows = read_star(options.star, "train")
    taught = {row.transcript.id for row in subset(rows, options.taught)}
    unseen = [row for row in rows if row.transcript.id not in taught]
    unlabelled = [replace(row, labels={}) for row in subset(unseen, options.dialogues)]
    write_jsonl(options.work / "unlabelled.jsonl", unlabelled)
    write_jsonl(options.work / "dev.jsonl", read_star(options.star, "dev"))
    recipe = RECIPE.format(model=MODEL, cache_bytes=6 << 30)
    (options.work / "recipe.toml").write_text(recipe)
    write_indicators(options.work / "indicators")


def write_indicators(folder: Path) -> None:
    """Write a file for each of the indicators of these benchmarks."""
    folder.mkdir(exist_ok=True)
    for indicator in star_indicators(NAMES):
        (folder / f"{indicator.name}.toml").write_text(indicator_toml(indicator))


@contextmanager
def _teacher(adapters: Path) -> Iterator[str]:
    """Serve the teacher's adapters on this machine while the block runs."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "descant", "serve", "--adapters", adapters]
    process = subprocess.Popen([*command, "--port", str(port)])
    try:
        _wait_for(f"http://127.0.0.1:{port}/ready", process)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait()


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=1).close()
            return
        except OSError:
            time.sleep(0.5)
    raise RuntimeError("The teacher's server has ended.")


def _distill(work: Path, url: str, data: str, output: str, *more: object) -> str:
    return _descant(
        "distill",
        work / data,
        *("--indicators", work / "indicators", "--output", work / output),
        *("--teacher", url, "--model", MODEL, "--via", "scores", "--soft", "--concurrency", 2),
        *more,
    )


def _descant(*arguments: object) -> str:
    command = [sys.executable, "-m", "descant", *map(str, arguments)]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


if __name__ == "__main__":
    main()
