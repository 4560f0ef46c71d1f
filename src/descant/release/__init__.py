"""Whether a candidate goes live: a policy, a verdict, and the page that says why; no tensors."""

from descant.release.charts import Bar, Marker, interval_chart
from descant.release.contestant import Contestant
from descant.release.endpoint_embedder import EndpointEmbedder
from descant.release.endpoint_plan import (
    EndpointPlan,
    is_address,
    load_endpoint,
    split_address,
)
from descant.release.endpoint_run import EndpointAnswers, EndpointFigures, ask_endpoint, spent_in
from descant.release.gate import GateResult, run_gate
from descant.release.judge import TextPair, judge_pairs
from descant.release.judge_measurement import (
    JudgeMeasurement,
    LabelledPair,
    identity_of,
    measure,
    read_labelled_pairs,
    read_measurement,
    write_measurement,
)
from descant.release.judge_policy import JudgePolicy
from descant.release.judged_texts import JudgedTexts, refusal_of, text_pairs
from descant.release.limits import Limits
from descant.release.page import Provenance, render_page
from descant.release.policy import GatePolicy, GateTask, Prices, SlicePlan, load_policy
from descant.release.recording import Recording, read_recording
from descant.release.trial_report import SideSummary, TrialReport, TrialRow, read_trial

__all__ = [
    "SideSummary",
    "TrialReport",
    "TrialRow",
    "read_trial",
    "Bar",
    "Marker",
    "interval_chart",
    "Contestant",
    "EndpointAnswers",
    "EndpointEmbedder",
    "EndpointFigures",
    "EndpointPlan",
    "ask_endpoint",
    "is_address",
    "load_endpoint",
    "spent_in",
    "split_address",
    "JudgeMeasurement",
    "JudgePolicy",
    "JudgedTexts",
    "LabelledPair",
    "TextPair",
    "identity_of",
    "judge_pairs",
    "measure",
    "read_labelled_pairs",
    "read_measurement",
    "refusal_of",
    "text_pairs",
    "write_measurement",
    "GatePolicy",
    "GateResult",
    "GateTask",
    "Limits",
    "Prices",
    "Provenance",
    "Recording",
    "SlicePlan",
    "load_policy",
    "read_recording",
    "render_page",
    "run_gate",
]
