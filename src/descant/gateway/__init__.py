"""HTTP from many callers → one chosen upstream each; works without torch."""

from descant.gateway.call import Call, Caller, Operation, Usage
from descant.gateway.config import GatewayConfig, load_gateway_config

__all__ = ["Call", "Caller", "GatewayConfig", "Operation", "Usage", "load_gateway_config"]
