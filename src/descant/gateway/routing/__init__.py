"""One call → the upstreams to ask, in order; works on what is in memory alone."""

from descant.gateway.routing.deal import Deal
from descant.gateway.routing.load_view import LoadView
from descant.gateway.routing.metrics_text import Figures, read_figures
from descant.gateway.routing.poller import Poller
from descant.gateway.routing.router import Candidate, Memory, Router

__all__ = ["Candidate", "Deal", "Figures", "LoadView", "Memory", "Poller", "Router", "read_figures"]
