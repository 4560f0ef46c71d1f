"""HTTP from many callers → one chosen upstream each; works without torch."""

from descant.gateway.app import Gateway
from descant.gateway.call import Call, Caller, Operation, Usage
from descant.gateway.cascade import ModelThresholds, Thresholds, UnitThresholds
from descant.gateway.config import GatewayConfig, load_gateway_config
from descant.gateway.guarded_protocol import GuardedProtocol
from descant.gateway.worker import Worker

__all__ = [
    "Call",
    "Caller",
    "Gateway",
    "GatewayConfig",
    "GuardedProtocol",
    "ModelThresholds",
    "Operation",
    "Thresholds",
    "UnitThresholds",
    "Usage",
    "Worker",
    "load_gateway_config",
]
