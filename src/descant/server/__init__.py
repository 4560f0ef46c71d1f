"""HTTP in front of one model: scorecards, chat, completions, embeddings and its adapters."""

from descant.server.app import create_app
from descant.server.batches import BatchConfig
from descant.server.service import ServerConfig
from descant.server.trial import Trial, TrialConfig

__all__ = ["Trial", "TrialConfig", "BatchConfig", "ServerConfig", "create_app"]
