"""How well a completer answers, with intervals, beside a baseline; no tensors."""

from descant.evaluation.bag_of_words import BagOfWords
from descant.evaluation.calibration import (
    CalibrationConfig,
    CalibrationFit,
    CalibrationMethod,
    fit_calibration,
)
from descant.evaluation.comparison import (
    Comparison,
    compare_answers,
    holm_p_values,
    mcnemar_p_value,
)
from descant.evaluation.paired import MeanComparison, compare_paired
from descant.evaluation.reliability import Forecasts, Reliability, reliability
from descant.evaluation.report import EvaluationReport, ReportRow, build_report
from descant.evaluation.scorers import IndicatorResult, score_indicator
from descant.evaluation.statistics import (
    Estimate,
    Interval,
    bootstrap_interval,
    wilson_interval,
)
from descant.evaluation.task import Completer, Outcome, Predictions, Task, run_task

__all__ = [
    "BagOfWords",
    "CalibrationConfig",
    "CalibrationFit",
    "CalibrationMethod",
    "Comparison",
    "Completer",
    "Estimate",
    "EvaluationReport",
    "Forecasts",
    "IndicatorResult",
    "Interval",
    "MeanComparison",
    "Outcome",
    "Predictions",
    "Reliability",
    "ReportRow",
    "Task",
    "bootstrap_interval",
    "build_report",
    "compare_answers",
    "fit_calibration",
    "holm_p_values",
    "mcnemar_p_value",
    "reliability",
    "compare_paired",
    "run_task",
    "score_indicator",
    "wilson_interval",
]
