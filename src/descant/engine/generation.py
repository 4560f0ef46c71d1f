"""Turns a generate request into a growing sequence, and its tokens into events."""

from __future__ import annotations

import random

from descant.engine.ngram import NgramDrafter
from descant.engine.requests import FinishReason, GenerateRequest, GenerateResult
from descant.engine.sampler import TokenChooser
from descant.engine.scoring import first_active
from descant.engine.sequence import Sequence
from descant.schema.errors import InputError


class Generation:
    """A generate request under way."""

    def __init__(self, request: GenerateRequest, randomness: random.Random, has_drafts: bool):
        """Lay out the sequence; nothing runs yet. Without a seed, one is drawn.

        With `has_drafts` tokens are guessed where the likeliest one is always chosen.

        Raises:
            InputError: the prompt is empty.
            InvocationMissing: an aLoRA adapter's invocation is not in the prompt.
        """
        if not request.prompt_ids:
            raise InputError("The prompt is empty.", field="prompt")
        sampling = request.sampling
        activation = 0
        if request.adapter is not None:
            activation = first_active(request.adapter, request.prompt_ids)
        seed = randomness.getrandbits(64) if sampling.seed is None else sampling.seed
        chooser = TokenChooser(
            sampling, request.prompt_ids, random.Random(seed), request.constraint
        )
        self.sequence = Sequence(
            list(request.prompt_ids),
            adapter=request.adapter,
            activation=activation,
            salt=request.salt,
            chooser=chooser,
            drafter=NgramDrafter() if has_drafts and chooser.is_plain else None,
        )

    @property
    def sequences(self) -> list[Sequence]:
        """What has to be queued."""
        return [self.sequence]

    def extend(self, token_id: int) -> bool:
        """Go on behind a chosen token; return whether it is part of the text."""
        sequence, chooser = self.sequence, self.sequence.chooser
        assert chooser is not None
        if token_id in chooser.params.stop_token_ids:
            sequence.finish_reason = FinishReason.STOP
            return False
        sequence.token_ids.append(token_id)
        chooser.accept(token_id)
        if chooser.constraint is not None and chooser.constraint.is_stopped:
            sequence.finish_reason = FinishReason.STOP
        elif len(sequence.output_ids) == chooser.max_tokens:
            sequence.finish_reason = FinishReason.LENGTH
        return True

    def result(self) -> GenerateResult:
        """Return what was generated."""
        sequence = self.sequence
        assert sequence.finish_reason is not None, "a sequence left the loop unfinished"
        return GenerateResult(
            tuple(sequence.output_ids),
            sequence.finish_reason,
            sequence.num_run,
            sequence.num_cached or 0,
        )
