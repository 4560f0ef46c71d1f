"""HTTP in front of one model: scorecards, chat, completions, embeddings and its adapters."""

from descant.server.app import create_app
from descant.server.service import ServerConfig

__all__ = ["ServerConfig", "create_app"]
