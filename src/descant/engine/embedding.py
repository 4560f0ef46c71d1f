"""Turns an embed request into a sequence, and its hidden states into one vector."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from descant.engine.requests import EmbedRequest, EmbedResult
from descant.engine.sequence import Sequence
from descant.schema.errors import InputError


class Embedding:
    """An embed request under way."""

    def __init__(self, request: EmbedRequest):
        """Lay out the sequence; nothing runs yet.

        Raises:
            InputError: there are no tokens.
        """
        if not request.token_ids:
            raise InputError("The text is empty.", field="input")
        self.sequence = Sequence(list(request.token_ids), read_from=0)

    @property
    def sequences(self) -> list[Sequence]:
        """What has to be queued."""
        return [self.sequence]

    @property
    def is_done(self) -> bool:
        """True when it has been computed."""
        return bool(self.sequence.hidden) and not self.sequence.num_remaining

    def result(self) -> EmbedResult:
        """Return the mean of the last hidden states, scaled to length 1."""
        mean = torch.cat(self.sequence.hidden).float().mean(0)
        return EmbedResult(F.normalize(mean, dim=0).cpu(), self.sequence.num_run)
