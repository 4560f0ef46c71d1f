"""HTTP from many callers → one chosen upstream each; works without torch."""

from descant.gateway.call import Call, Caller, Operation, Usage
from descant.gateway.cascade import ModelThresholds, Thresholds, UnitThresholds
from descant.gateway.config import GatewayConfig, load_gateway_config

__all__ = [
    "Call",
    "Caller",
    "GatewayConfig",
    "ModelThresholds",
    "Operation",
    "Thresholds",
    "UnitThresholds",
    "Usage",
    "load_gateway_config",
]
