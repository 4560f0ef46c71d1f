"""Prints results/star_sweep.jsonl as a Markdown table: macro-F1 and, in brackets, ROC AUC."""

from __future__ import annotations

import json
from statistics import fmean

from benchmarks.star.run import RESULTS


def main() -> None:
    """Print one row a variant."""
    rows = [json.loads(line) for line in (RESULTS / "star_sweep.jsonl").open()]
    names = list(rows[0]["indicators"])
    print("| variant |", " | ".join(names), "| mean |")
    print("|---" * (len(names) + 2) + "|")
    for row in rows:
        figures = [row["indicators"][name] for name in names]
        cells = [f"{f['macro_f1']:.3f} ({f['auc']:.3f})" for f in figures]
        mean = (
            f"{fmean(f['macro_f1'] for f in figures):.3f} ({fmean(f['auc'] for f in figures):.3f})"
        )
        print(f"| {row['variant']} |", " | ".join(cells), f"| {mean} |")


if __name__ == "__main__":
    main()
