"""What every process reports: counters for machines, one log line for each request."""

from descant.monitoring.drain import Drain
from descant.monitoring.loop_lag import watch_loop
from descant.monitoring.metrics import Metrics
from descant.monitoring.request_log import RequestLog, RequestRecord

__all__ = ["Drain", "Metrics", "RequestLog", "RequestRecord", "watch_loop"]
