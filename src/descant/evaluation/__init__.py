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
    MeanComparison,
    compare_answers,
    compare_paired,
)
from descant.evaluation.measure_results import LabelResult
from descant.evaluation.non_inferiority import (
    NonInferiority,
    non_inferiority,
    proportion_non_inferiority,
)
from descant.evaluation.pairing import Pairing, Split
from descant.evaluation.ranking import Ranking
from descant.evaluation.reliability import Forecasts, Reliability, reliability
from descant.evaluation.report import EvaluationReport, ReportRow, build_report
from descant.evaluation.scorers import IndicatorResult, score_indicator
from descant.evaluation.significance import (
    benjamini_hochberg_p_values,
    holm_p_values,
    mcnemar_p_value,
    permutation_p_value,
)
from descant.evaluation.statistics import (
    Estimate,
    Interval,
    bootstrap_interval,
    cluster_tallies,
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
    "LabelResult",
    "MeanComparison",
    "NonInferiority",
    "Outcome",
    "Pairing",
    "Predictions",
    "Ranking",
    "Reliability",
    "ReportRow",
    "Split",
    "Task",
    "benjamini_hochberg_p_values",
    "bootstrap_interval",
    "build_report",
    "cluster_tallies",
    "compare_answers",
    "compare_paired",
    "fit_calibration",
    "holm_p_values",
    "mcnemar_p_value",
    "non_inferiority",
    "permutation_p_value",
    "proportion_non_inferiority",
    "reliability",
    "run_task",
    "score_indicator",
    "wilson_interval",
]
