"""How well a completer answers, with intervals, beside a baseline; no tensors."""

from descant.evaluation.agreement import Agreement, agreement
from descant.evaluation.bag_of_words import BagOfWords
from descant.evaluation.calibration import (
    CalibrationConfig,
    CalibrationFit,
    CalibrationMethod,
    fit_calibration,
)
from descant.evaluation.cascade_records import (
    CascadeRecord,
    StageRecord,
    read_cascade_records,
    stage_answers,
)
from descant.evaluation.cascade_thresholds import (
    CascadeFit,
    CascadeFitConfig,
    CostBound,
    ErrorBound,
    ModelCut,
    fit_cascade,
)
from descant.evaluation.comparison import (
    Comparison,
    MeanComparison,
    compare_answers,
    compare_paired,
)
from descant.evaluation.design_effect import clustered_non_inferiority, clustered_share
from descant.evaluation.free_text import rouge_l
from descant.evaluation.judged_pairs import (
    PAIR_LABELS,
    JudgeAgreement,
    JudgedPair,
    PairLabel,
    PairTally,
    judge_agreement,
)
from descant.evaluation.measure_results import LabelResult
from descant.evaluation.measures import MEASURES
from descant.evaluation.noise_floor import NoiseFloor, noise_floor
from descant.evaluation.non_inferiority import (
    NonInferiority,
    non_inferiority,
    proportion_non_inferiority,
)
from descant.evaluation.orders import OrderResult, compare_orders, order_score
from descant.evaluation.pairing import Pairing, Split, estimate_of, mean_over_indicators
from descant.evaluation.power import (
    PowerConfig,
    PowerPlan,
    detectable_difference,
    non_inferiority_rows,
    plan_power,
    rows_needed,
)
from descant.evaluation.protected import Breakage, ProtectedExample, find_breakages
from descant.evaluation.ranking import Ranking
from descant.evaluation.release import ReleaseEvidence, decide_release, verdict_of
from descant.evaluation.release_policy import ReleaseCheck, ReleaseDecision, ReleasePolicy
from descant.evaluation.release_simulation import ReleaseWorld, VerdictShares, simulate_releases
from descant.evaluation.reliability import Forecasts, Reliability, reliability
from descant.evaluation.report import EvaluationReport, ReportRow, build_report
from descant.evaluation.row_scores import MeanScore, Unscored, mean_score, score_rows
from descant.evaluation.scorers import IndicatorResult, score_indicator
from descant.evaluation.sequential import (
    CanaryOutcome,
    CanaryVerdict,
    SequentialConfig,
    SequentialEstimate,
    SequentialMean,
    SpendingConfig,
    SpendingShape,
    disagreement_verdict,
    non_inferiority_verdict,
    spending_boundaries,
)
from descant.evaluation.significance import (
    benjamini_hochberg_p_values,
    holm_p_values,
    mcnemar_p_value,
    permutation_p_value,
)
from descant.evaluation.similarity import Embedder, Embedding, cosine, cosine_scores
from descant.evaluation.slices import (
    Period,
    Slice,
    SliceReport,
    SliceResult,
    slices_by,
    slices_by_field,
    slices_by_length,
    slices_by_time,
    worst_slices,
)
from descant.evaluation.statistics import (
    Estimate,
    Interval,
    bootstrap_interval,
    cluster_tallies,
    wilson_interval,
)
from descant.evaluation.structures import SlotResult, exact_match, format_validity, slot_scores
from descant.evaluation.task import Completer, Outcome, Predictions, Task, run_task

__all__ = [
    "Agreement",
    "BagOfWords",
    "Breakage",
    "CalibrationConfig",
    "CalibrationFit",
    "CalibrationMethod",
    "CanaryOutcome",
    "CanaryVerdict",
    "CascadeRecord",
    "CascadeFitConfig",
    "CascadeFit",
    "Comparison",
    "Completer",
    "Embedder",
    "Embedding",
    "CostBound",
    "ErrorBound",
    "Estimate",
    "EvaluationReport",
    "Forecasts",
    "IndicatorResult",
    "Interval",
    "JudgeAgreement",
    "JudgedPair",
    "LabelResult",
    "MEASURES",
    "MeanComparison",
    "MeanScore",
    "ModelCut",
    "NoiseFloor",
    "NonInferiority",
    "OrderResult",
    "Outcome",
    "PAIR_LABELS",
    "PairLabel",
    "PairTally",
    "Pairing",
    "Period",
    "estimate_of",
    "mean_over_indicators",
    "PowerConfig",
    "PowerPlan",
    "Predictions",
    "ProtectedExample",
    "Ranking",
    "ReleaseCheck",
    "ReleaseDecision",
    "ReleaseEvidence",
    "ReleasePolicy",
    "ReleaseWorld",
    "Reliability",
    "ReportRow",
    "SequentialConfig",
    "SequentialEstimate",
    "SequentialMean",
    "Slice",
    "SliceReport",
    "SliceResult",
    "SlotResult",
    "SpendingConfig",
    "SpendingShape",
    "Split",
    "StageRecord",
    "Task",
    "Unscored",
    "VerdictShares",
    "agreement",
    "benjamini_hochberg_p_values",
    "bootstrap_interval",
    "build_report",
    "cluster_tallies",
    "clustered_non_inferiority",
    "clustered_share",
    "compare_answers",
    "compare_orders",
    "compare_paired",
    "cosine",
    "cosine_scores",
    "decide_release",
    "detectable_difference",
    "disagreement_verdict",
    "exact_match",
    "find_breakages",
    "fit_calibration",
    "fit_cascade",
    "format_validity",
    "holm_p_values",
    "judge_agreement",
    "mcnemar_p_value",
    "mean_score",
    "noise_floor",
    "non_inferiority",
    "non_inferiority_rows",
    "non_inferiority_verdict",
    "order_score",
    "permutation_p_value",
    "plan_power",
    "proportion_non_inferiority",
    "read_cascade_records",
    "reliability",
    "rouge_l",
    "rows_needed",
    "run_task",
    "score_indicator",
    "score_rows",
    "simulate_releases",
    "slices_by",
    "slices_by_field",
    "slices_by_length",
    "slices_by_time",
    "slot_scores",
    "spending_boundaries",
    "stage_answers",
    "verdict_of",
    "wilson_interval",
    "worst_slices",
]
