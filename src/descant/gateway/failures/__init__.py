"""An upstream says no, is slow or breaks → what the gateway does about it."""

from descant.gateway.failures.attempts import AttemptRules, Attempts, Reason, Refuse, Try, Wait
from descant.gateway.failures.breaker import BreakerRules, BreakerState
from descant.gateway.failures.health import (
    Admitted,
    Candidate,
    Refused,
    UpstreamHealth,
    earliest_return_s,
    retry_headers,
)
from descant.gateway.failures.hedging import Hedge, HedgeRules, Hedging
from descant.gateway.failures.outcome import Outcome, Reply, outcome_of_error, outcome_of_status
from descant.gateway.failures.retry_budget import BudgetRules, ExtraBudget
from descant.gateway.failures.stated_wait import stated_wait_s

__all__ = [
    "Admitted",
    "AttemptRules",
    "Attempts",
    "BreakerRules",
    "BreakerState",
    "BudgetRules",
    "Candidate",
    "ExtraBudget",
    "Hedge",
    "HedgeRules",
    "Hedging",
    "Outcome",
    "Reason",
    "Refuse",
    "Refused",
    "Reply",
    "Try",
    "UpstreamHealth",
    "Wait",
    "earliest_return_s",
    "outcome_of_error",
    "outcome_of_status",
    "retry_headers",
    "stated_wait_s",
]
