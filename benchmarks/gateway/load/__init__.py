"""Load on an HTTP server: open or closed loop, several processes, what it felt like."""

from benchmarks.gateway.load.connection import Answer, Connection
from benchmarks.gateway.load.generator import generate
from benchmarks.gateway.load.measured import Measured, percentile
from benchmarks.gateway.load.processes import LoadProcesses
from benchmarks.gateway.load.spec import ClosedLoop, Load, OpenLoop, Target, chat_body

__all__ = [
    "Answer",
    "ClosedLoop",
    "Connection",
    "Load",
    "LoadProcesses",
    "Measured",
    "OpenLoop",
    "Target",
    "chat_body",
    "generate",
    "percentile",
]
