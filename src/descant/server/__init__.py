"""HTTP in front of one model: scorecards now, chat and adapters later."""

from descant.server.app import ServerConfig, create_app
from descant.server.engine_thread import ScoringModel

__all__ = ["ScoringModel", "ServerConfig", "create_app"]
