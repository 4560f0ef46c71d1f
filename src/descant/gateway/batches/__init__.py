"""Files and batches of one upstream, shared by tenants who cannot see each other."""

from descant.gateway.batches.ask import Ask, read_query
from descant.gateway.batches.depot import DepotRefused
from descant.gateway.batches.desk import Desk, open_desk
from descant.gateway.batches.download import Download, Stalled
from descant.gateway.batches.output_usage import ModelUsage

__all__ = [
    "Ask",
    "DepotRefused",
    "Desk",
    "Download",
    "ModelUsage",
    "Stalled",
    "open_desk",
    "read_query",
]
