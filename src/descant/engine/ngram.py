"""Guesses the next tokens of a generation from where its last ones have stood before.

Answers that repeat their prompt (quotes, records, code) are guessed well, others not at all; a guess
costs a few more rows in a step that is dominated by reading the weights. Prompt lookup decoding,
https://github.com/apoorvumang/prompt-lookup-decoding.
"""

from __future__ import annotations

from collections.abc import Sequence

_SIZE = 3
"""As many tokens have to have stood before in the same order."""


class NgramDrafter:
    """Follows one sequence of tokens."""

    def __init__(self) -> None:
        self._place_behind: dict[tuple[int, ...], int] = {}
        self._num_indexed = _SIZE

    def propose(self, token_ids: Sequence[int], most: int) -> tuple[int, ...]:
        """Return up to `most` tokens that may come next; none when nothing is known.

        `token_ids` are all tokens so far; between calls they only grow.
        """
        for place in range(self._num_indexed, len(token_ids)):
            self._place_behind[tuple(token_ids[place - _SIZE : place])] = place
        self._num_indexed = max(self._num_indexed, len(token_ids))
        found = self._place_behind.get(tuple(token_ids[-_SIZE:]))
        return () if found is None else tuple(token_ids[found : found + most])
