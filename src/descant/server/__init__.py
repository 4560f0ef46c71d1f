"""HTTP in front of one model: scorecards, chat, completions, embeddings and its adapters."""

from descant.server.app import create_app
from descant.server.batches import BatchConfig
from descant.server.drain import Drain
from descant.server.service import ServerConfig

__all__ = ["BatchConfig", "Drain", "ServerConfig", "create_app"]
