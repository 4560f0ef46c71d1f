"""How well a completer answers, with intervals, beside a baseline; no tensors."""

from descant.evaluation.bag_of_words import BagOfWords
from descant.evaluation.paired import Comparison, compare_paired
from descant.evaluation.report import EvaluationReport, ReportRow, build_report
from descant.evaluation.scorers import Estimate, IndicatorResult, score_indicator
from descant.evaluation.statistics import Interval, bootstrap_interval, wilson_interval
from descant.evaluation.task import Completer, Outcome, Predictions, Task, run_task

__all__ = [
    "BagOfWords",
    "Comparison",
    "Completer",
    "Estimate",
    "EvaluationReport",
    "IndicatorResult",
    "Interval",
    "Outcome",
    "Predictions",
    "ReportRow",
    "Task",
    "bootstrap_interval",
    "build_report",
    "compare_paired",
    "run_task",
    "score_indicator",
    "wilson_interval",
]
