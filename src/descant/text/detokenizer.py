"""Text of tokens that arrive one by one.

A character may be spread over several tokens; it is given out with the last of them. All pieces
together are what `Tokenizer.decode` returns for all ids.
"""

from __future__ import annotations

from descant.text.tokenizer import Tokenizer

_INCOMPLETE = "\ufffd"


class Detokenizer:
    """Follows one sequence of output tokens."""

    def __init__(self, tokenizer: Tokenizer):
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        # Spaces between tokens depend on the token before, so one piece of context is kept.
        self._context_start = 0
        self._pending_start = 0

    def push(self, token_id: int) -> str:
        """Return the text that is complete with this token; empty while a character is not."""
        if self._tokenizer.is_textless(token_id):
            return ""
        self._ids.append(token_id)
        return self._take(is_last=False)

    def finish(self) -> str:
        """Return what is left; bytes that never became a character are given as U+FFFD."""
        return self._take(is_last=True)

    def _take(self, is_last: bool) -> str:
        known = self._tokenizer.decode(self._ids[self._context_start : self._pending_start])
        text = self._tokenizer.decode(self._ids[self._context_start :])
        if not is_last and (self._is_open(text) or len(text) == len(known)):
            return ""
        self._context_start, self._pending_start = self._pending_start, len(self._ids)
        return text[len(known) :]

    def _is_open(self, text: str) -> bool:
        return text.endswith(_INCOMPLETE) or self._tokenizer.is_byte(self._ids[-1])
