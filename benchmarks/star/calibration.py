"""STAR: what calibration brings on dev, on which nothing was trained or calibrated.

Takes the one-pass adapters that `run.py` made. Calibrates them on some 600 training dialogues that they
were not trained on, drawn by id, and judges on dev before and after, with temperatures alone as well.
Raw answers stay in the work folder. Writes results/star_calibration.json and .md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from benchmarks.star.machine import describe
from benchmarks.star.run import EASY, MODEL, RESULTS, subset

from descant.cli.process import prepare_process
from descant.data import HARD_INDICATORS, read_star, split_of, star_indicators
from descant.data.splits import Fractions
from descant.evaluation import (
    CalibrationConfig,
    CalibrationFit,
    Forecasts,
    IndicatorResult,
    Outcome,
    Predictions,
    Task,
    fit_calibration,
    run_task,
    score_indicator,
)
from descant.evaluation.reliability import calibration_tally, equal_mass_edges
from descant.evaluation.statistics import FloatArray, bootstrap_values
from descant.llm import LLM
from descant.schema import Answer, Indicator, LabelledTranscript

CALIBRATED_ON = 600


def main() -> None:
    """Ask, calibrate, judge and write the table."""
    options = _options()
    indicators = star_indicators([*HARD_INDICATORS, *EASY])
    rows, dev = read_star(options.star, "train"), read_star(options.star, "dev")
    held = unseen(rows, subset(rows, options.dialogues))
    folder = options.work / "one_pass"
    learn = _answers(Task("held", held, indicators), folder, options.work)
    judged = _answers(Task("dev", dev, indicators), folder, options.work)
    result = {**describe(), "held": len(held), "dev": len(dev), "methods": {}}
    for method in ("none", "temperature", "auto"):
        config = CalibrationConfig(method)
        fits = {i.name: fit_calibration(i, learn.of(i.name), config) for i in indicators}
        after = _calibrated(judged, fits)
        result["methods"][method] = {
            "pooled": _pooled(indicators, judged, after),
            "indicators": [_row(i, fits[i.name], after) for i in indicators],
        }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "star_calibration.json").write_text(json.dumps(result, indent=1) + "\n")
    (RESULTS / "star_calibration.md").write_text(_table(result))
    print(_table(result))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--star", type=Path, required=True, help="folder of the data")
    parser.add_argument("--work", type=Path, default=Path("runs/star"), help="that of run.py")
    parser.add_argument("--dialogues", type=int, default=1500, help="as run.py trained on")
    return parser.parse_args()


def unseen(
    rows: Sequence[LabelledTranscript], trained: Sequence[LabelledTranscript]
) -> list[LabelledTranscript]:
    """Return about 600 of the other rows; ids follow time, so the first ones would be others."""
    used = {row.transcript.id for row in trained}
    rest = [row for row in rows if row.transcript.id not in used]
    share = CALIBRATED_ON / len(rest)
    fractions = Fractions(share, 0.0, 1 - share)
    return [row for row in rest if split_of(row.transcript.id, fractions, seed=1) == "train"]


def _answers(task: Task, adapters: Path, work: Path) -> Predictions:
    """Return what the adapters answer before any calibration, from the work folder or now."""
    path = work / f"raw_{task.name}.json"
    if not path.exists():
        asked = run_task(task, LLM(MODEL, adapters=adapters)).outcomes
        told = [(o, o.answer.raw_probabilities or o.answer.probabilities) for o in asked]
        rows = [[o.transcript_id, o.indicator, o.expected, dict(shares)] for o, shares in told]
        path.write_text(json.dumps(rows))
    return Predictions(
        task.name,
        tuple(
            Outcome(call, name, right, _answer(name, shares))
            for call, name, right, shares in json.loads(path.read_text())
        ),
    )


def _answer(indicator: str, shares: Mapping[str, float]) -> Answer:
    label = max(shares, key=shares.__getitem__)
    return Answer(indicator, label, shares, shares[label], None)


def _calibrated(raw: Predictions, fits: Mapping[str, CalibrationFit]) -> Predictions:
    outcomes = []
    for outcome in raw.outcomes:
        scaling = fits[outcome.indicator].scaling
        shares = outcome.answer.probabilities
        shares = shares if scaling is None else scaling.apply(shares)
        outcomes.append(replace(outcome, answer=_answer(outcome.indicator, shares)))
    return Predictions(raw.task, tuple(outcomes))


def _row(indicator: Indicator, fit: CalibrationFit, after: Predictions) -> dict[str, Any]:
    result: IndicatorResult = score_indicator(indicator, after.of(indicator.name))
    method = (fit.scaling and fit.scaling.to_json()) or {"method": "none"}
    return {"indicator": indicator.name, "calibration": method, "result": result.to_json()}


def _pooled(
    indicators: Sequence[Indicator], before: Predictions, after: Predictions
) -> dict[str, list[float]]:
    """Return figures of all answers together, whole conversations drawn: value, low, high."""
    calls = [outcome.transcript_id for i in indicators for outcome in before.of(i.name)]
    names, at = np.unique(calls, return_inverse=True)
    tallies = np.concatenate(
        [_columns(indicators, before), _columns(indicators, after), np.ones((len(calls), 1))],
        axis=1,
    )
    per_call = np.zeros((len(names), tallies.shape[1]))
    np.add.at(per_call, at, tallies)

    def figures(total: FloatArray) -> FloatArray:
        sides = np.split(total[..., :-1] / total[..., -1:], 2, axis=-1)
        nll, ece = zip(*((s[..., 0], np.abs(s[..., 1:]).sum(-1)) for s in sides), strict=True)
        return np.stack([nll[1], nll[1] - nll[0], ece[1], ece[1] - ece[0]], axis=-1)

    low, high = np.quantile(bootstrap_values(per_call, figures, seed=0), [0.025, 0.975], axis=0)
    three = np.stack([figures(per_call.sum(axis=0)), low, high], axis=-1).tolist()
    return dict(zip(("nll", "nll_change", "ece", "ece_change"), three, strict=True))


def _columns(indicators: Sequence[Indicator], predictions: Predictions) -> FloatArray:
    """Return loss and calibration tally of every answer."""
    forecasts = [Forecasts.of(i, predictions.of(i.name)) for i in indicators]
    confidence = np.concatenate([found.probabilities.max(axis=1) for found in forecasts])
    is_hit = np.concatenate([found.likeliest() == found.right for found in forecasts])
    loss = np.concatenate([-np.log(found.of_right()) for found in forecasts])
    tally = calibration_tally(confidence, is_hit, equal_mass_edges(confidence))
    return np.concatenate([loss[:, None], tally], axis=1)


def _table(result: dict[str, Any]) -> str:
    methods = result["methods"]
    lines = [
        "# STAR dev: calibration, 95 % intervals in brackets",
        "",
        f"Calibrated on {result['held']} dialogues, judged on {result['dev']} others; "
        f"{result['date']}, commit {result['commit']}, {result['machine']}.",
        "",
        "| all answers together | NLL | change | ECE | change | mean macro-F1 | mean accuracy |",
        "|---|---|---|---|---|---|---|",
    ]
    for method, found in methods.items():
        figures = " | ".join(_interval(found["pooled"][name]) for name in found["pooled"])
        means = " | ".join(
            f"{fmean(row['result'][name]['value'] for row in found['indicators']):.3f}"
            for name in ("macro_f1", "accuracy")
        )
        lines.append(f"| {method} | {figures} | {means} |")
    lines += ["", "| indicator | auto | NLL | ECE | macro-F1 |", "|---|---|---|---|---|"]
    both = zip(methods["none"]["indicators"], methods["auto"]["indicators"], strict=True)
    for before, after in both:
        told = after["calibration"]
        method = " ".join([told["method"], *(f"{told[k]:.2f}" for k in told if k == "temperature")])
        cells = [_arrow(before, after, name) for name in ("nll", "ece")]
        f1 = f"{before['result']['macro_f1']['value']:.3f} → {after['result']['macro_f1']['value']:.3f}"
        lines.append(f"| {before['indicator']} | {method} | {' | '.join(cells)} | {f1} |")
    return "\n".join([*lines, ""])


def _interval(three: Sequence[float]) -> str:
    value, low, high = three
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


def _arrow(before: dict[str, Any], after: dict[str, Any], name: str) -> str:
    sides = (row["result"]["reliability"][name]["value"] for row in (before, after))
    return " → ".join(f"{value:.3f}" for value in sides)


if __name__ == "__main__":
    prepare_process()
    main()
