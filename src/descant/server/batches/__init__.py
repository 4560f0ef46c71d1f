"""Files and batches in OpenAI's form: on disk, whole or not at all, going on after a kill."""

from descant.server.batches.app_answer import answers_from
from descant.server.batches.batch_runner import BatchConfig
from descant.server.batches.batch_service import batch_service

__all__ = ["BatchConfig", "answers_from", "batch_service"]
