"""A complete run of the release gate: STAR dev, adapters of one pass, a bag of words, a prompted base.

    .venv/bin/python -m benchmarks.star.gate --star FOLDER --adapters runs/star/one_pass

Today's champion is a bag of words that learned from the same dialogues as the candidate's adapters
(`run.py` trains them); the rival is the base model, asked in words. The page goes to docs/examples/.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from benchmarks.methods.prompted import PromptedBase
from benchmarks.star.distillation import NAMES, write_indicators
from benchmarks.star.run import MODEL, subset

from descant.cli.process import prepare_process
from descant.data import read_star, star_indicators, write_jsonl
from descant.llm import LLM

PAGE = Path(__file__).parent.parent.parent / "docs" / "examples" / "star_release.html"
POLICY = """
[task]
name = "STAR dev"
data = "dev.jsonl"
indicators = "indicators"
drawn = "a tenth of the dialogues, chosen by a hash of their ids; labels from the data set"

[release]
margin = 0.02

[slices]
length_parts = 3

[limits]
conversation_s = 2.0

[prices]
machine_per_hour = 0.10
currency = "USD"
"""


def main() -> None:
    """Prepare what is not there, and run the gate as a user would."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--star", type=Path, required=True, help="folder of the data")
    parser.add_argument("--adapters", type=Path, default=Path("runs/star/one_pass"))
    parser.add_argument("--work", type=Path, default=Path("runs/star_gate"))
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    _write_task(options.star, options.work)
    if not (options.work / "rival.jsonl").exists():
        _record_rival(options.star, options.work)
    command = [sys.executable, "-m", "descant", "gate", options.work / "policy.toml"]
    command += ["--candidate", options.adapters, "--champion", "bag-of-words"]
    command += ["--train", options.work / "train.jsonl", "--rival", options.work / "rival.jsonl"]
    PAGE.parent.mkdir(exist_ok=True)
    subprocess.run([*command, "--page", PAGE, "--without-texts"], check=False)


def _write_task(star: Path, work: Path) -> None:
    write_jsonl(work / "train.jsonl", subset(read_star(star, "train"), 1500))
    write_jsonl(work / "dev.jsonl", read_star(star, "dev"))
    write_indicators(work / "indicators")
    (work / "policy.toml").write_text(POLICY)


def _record_rival(star: Path, work: Path) -> None:
    """Write the scorecards of the base model, asked in words."""
    base, indicators = PromptedBase(LLM(MODEL), {}), star_indicators(NAMES)
    partial = work / "rival.partial"
    with partial.open("w", encoding="utf-8") as file:
        for row in read_star(star, "dev"):
            asked = [each for each in indicators if row.labels.get(each.name) is not None]
            if asked:
                card = base.score(row.transcript, asked)
                file.write(json.dumps(card.to_json()) + "\n")
    partial.rename(work / "rival.jsonl")


if __name__ == "__main__":
    prepare_process()
    main()
