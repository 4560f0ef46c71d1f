from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from descant.evaluation import EvaluationReport, Predictions, build_report
from descant.schema.errors import InvalidData
from tests.evaluation.outcomes import BINARY, INTENT, Pair, outcomes

RIGHT: list[Pair] = [("yes", "yes"), ("no", "no")] * 10
WORSE: list[Pair] = [("yes", "no"), ("no", "no")] + RIGHT[2:]
NEVER: list[Pair] = [("ask", "ask")] * 3


def predictions(greeting: list[Pair], intent: list[Pair]) -> Predictions:
    both = outcomes(BINARY, greeting) + outcomes(INTENT, intent)
    return Predictions("calls", tuple(both))


def report(ours: list[Pair] = RIGHT) -> EvaluationReport:
    return build_report(
        (BINARY, INTENT),
        predictions(ours, NEVER),
        {"bag-of-words": predictions(WORSE, NEVER), "lora": predictions(RIGHT, NEVER)},
    )


def printed(table: object, width: int = 160) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_ours_and_every_baseline_are_scored_on_the_same_rows() -> None:
    greeting, intent = report().rows
    assert greeting.ours.f1 is not None
    assert greeting.ours.f1.value == 1.0
    baseline = greeting.baselines["bag-of-words"]
    assert baseline.f1 is not None
    assert baseline.f1.value == pytest.approx(2 * 9 / (10 + 9))
    assert intent.ours.f1 is None
    assert intent.ours.support == baseline.support - 17 == 3


def test_json_holds_every_figure_and_null_for_what_is_not_defined() -> None:
    found = json.loads(json.dumps(report().to_json(), allow_nan=False))
    assert found["task"] == "calls"
    assert found["mean_macro_f1"]["ours"] == 1.0
    assert found["mean_macro_f1"]["bag-of-words"] == pytest.approx((18 / 19 + 20 / 21) / 4 + 0.5)
    greeting, intent = found["indicators"]
    assert greeting["indicator"] == "greeting"
    assert greeting["ours"]["f1"]["high"] == 1.0
    assert greeting["ours"]["reliability"]["ece"]["value"] == 0.0
    assert greeting["baselines"]["bag-of-words"]["reliability"]["brier"]["value"] == 1 / 20
    assert list(greeting["baselines"]) == ["bag-of-words", "lora"]
    assert intent["ours"]["f1"] is None
    against = greeting["comparisons"]["bag-of-words"]
    assert (against["only_one_right"], against["only_other_right"]) == (1, 0)
    assert against["gain"]["value"] == pytest.approx(1 - (18 / 19 + 20 / 21) / 2)
    assert found["holm_p_values"] == {
        "bag-of-words": {"greeting": 1.0, "intent": 1.0},
        "lora": {"greeting": 1.0, "intent": 1.0},
    }


def test_the_table_prints_a_line_for_each_indicator_and_the_mean() -> None:
    lines = printed(report().to_table()).splitlines()
    (greeting,) = [line for line in lines if "greeting" in line]
    assert "10/20" in greeting
    assert "1.00 [0.84, 1.00]" in greeting
    assert "0.95" in greeting
    assert "ECE" in "\n".join(lines)
    (intent,) = [line for line in lines if "intent" in line]
    assert " - " in intent
    assert any("mean" in line and "0.97" in line for line in lines)
    assert "answered" not in "\n".join(lines)


def test_a_narrow_terminal_cuts_no_number() -> None:
    alone = build_report(
        (BINARY,), predictions(RIGHT, []), {"bag-of-words": predictions(WORSE, [])}
    )
    assert "1.00 [0.84, 1.00]" in printed(alone.to_table(), width=76)
    assert "\u2026" not in printed(alone.to_table(), width=76)


def test_unanswered_gets_a_column_when_there_is_any() -> None:
    text = printed(report([("yes", None), *RIGHT[1:]]).to_table())
    assert "answered" in text


def test_a_report_without_baselines_prints_too() -> None:
    alone = build_report((BINARY,), predictions(RIGHT, []), {})
    assert alone.to_json()["mean_macro_f1"] == {"ours": 1.0}
    assert "greeting" in printed(alone.to_table())


def test_a_mean_of_nothing_is_not_defined() -> None:
    empty = build_report((BINARY,), Predictions("calls", ()), {})
    assert empty.to_json()["mean_macro_f1"] == {"ours": None}
    assert "-" in printed(empty.to_table())


def test_a_baseline_on_other_conversations_is_refused() -> None:
    with pytest.raises(InvalidData, match="'lora' was not asked the same questions"):
        build_report((BINARY,), predictions(RIGHT, []), {"lora": predictions(RIGHT[1:], [])})


def test_the_same_seed_gives_the_same_report() -> None:
    assert report(WORSE) == report(WORSE)
