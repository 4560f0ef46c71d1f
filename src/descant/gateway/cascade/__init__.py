"""Several models in order: the first whose answer is surely good enough is the one that counts."""

from descant.gateway.cascade.cascade import Ask, Cascade, CascadeAnswer, StageAnswer, Step
from descant.gateway.cascade.review_queue import ReviewQueue
from descant.gateway.cascade.stages import CascadeConfig, StageConfig
from descant.gateway.cascade.thresholds import (
    ModelThresholds,
    Thresholds,
    UnitThresholds,
    load_thresholds,
)

__all__ = [
    "Ask",
    "Cascade",
    "CascadeAnswer",
    "CascadeConfig",
    "ModelThresholds",
    "ReviewQueue",
    "StageAnswer",
    "StageConfig",
    "Step",
    "Thresholds",
    "UnitThresholds",
    "load_thresholds",
]
