"""The text of one generation as it comes: characters made whole, stop strings cut off.

In: the engine's tokens. Out: pieces of text with the log-probabilities of their tokens. Text that
may turn out to be the beginning of a stop string is held back until that is known, and its tokens
with it: what is cut off has no log-probabilities.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from descant.engine import GenerateResult, Result, TokenEvent
from descant.text import Detokenizer, Tokenizer


@dataclass(frozen=True)
class TokenText:
    """One token with its log-probability."""

    text: str
    logprob: float
    alternatives: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class TextPiece:
    """Some more of the text."""

    text: str
    tokens: tuple[TokenText, ...] = ()
    """Those that were asked for their log-probability."""
    finish_reason: str | None = None
    """With the last piece."""


@dataclass
class TextUsage:
    """Tokens of one generation so far."""

    output_tokens: int = 0
    cached_tokens: int = 0


class TextStream:
    """Follows one generation; iterate over it once."""

    def __init__(
        self,
        words: AsyncGenerator[TokenEvent | Result, None],
        tokenizer: Tokenizer,
        stop: Sequence[str] = (),
    ):
        self.usage = TextUsage()
        self._words = words
        self._tokenizer = tokenizer
        self._detokenizer = Detokenizer(tokenizer)
        self._stop = tuple(stop)
        self._held = ""
        self._num_given = 0
        """Characters given out."""
        self._untold: list[tuple[int, TokenText]] = []
        """Tokens that may still be cut off, each with where its text begins."""

    async def pieces(self) -> AsyncGenerator[TextPiece, None]:
        """Yield the text; leaving early cancels the generation.

        Raises:
            DescantError: the generation failed.
        """
        # Closing the words takes the request out of the engine, wherever it stands.
        async with aclosing(self._words) as words:
            async for word in words:
                piece = self._take(word)
                if piece.text or piece.tokens or piece.finish_reason is not None:
                    yield piece
                if piece.finish_reason is not None:
                    return

    def _take(self, word: TokenEvent | Result) -> TextPiece:
        if isinstance(word, TokenEvent):
            self.usage.output_tokens += 1
            self.usage.cached_tokens = word.num_cached
            start = self._num_given + len(self._held)
            self._untold += [(start, token) for token in self._token_texts(word)]
            return self._piece(self._detokenizer.push(word.token_id), None)
        assert isinstance(word, GenerateResult)
        self.usage.cached_tokens = word.num_cached
        return self._piece(self._detokenizer.finish(), word.finish_reason.value)

    def _piece(self, more: str, reason: str | None) -> TextPiece:
        """Return what is safe to give out, now that there is `more` text or, with a reason, no more."""
        self._held += more
        cut = self._stop_at()
        if cut is not None:
            end = cut
        elif reason is not None:
            end = len(self._held)
        else:
            end = len(self._held) - max((_overlap(self._held, s) for s in self._stop), default=0)
        text, self._held = self._held[:end], self._held[end:]
        self._num_given += len(text)
        is_safe = not self._stop or (cut is None and reason is not None)
        return TextPiece(text, self._tell(is_safe), reason if cut is None else "stop")

    def _stop_at(self) -> int | None:
        """Return where in the held text a stop string begins that has come."""
        found = [(at + len(s), at) for s in self._stop if (at := self._held.find(s)) >= 0]
        # The one complete first, however the text is cut into tokens; the longest of those.
        return min(found)[1] if found else None

    def _tell(self, all_of_them: bool) -> tuple[TokenText, ...]:
        """Return the tokens whose text has been given out, if only in part."""
        count = sum(all_of_them or start < self._num_given for start, _ in self._untold)
        told, self._untold = self._untold[:count], self._untold[count:]
        return tuple(token for _, token in told)

    def _token_texts(self, event: TokenEvent) -> tuple[TokenText, ...]:
        if event.logprob is None:
            return ()
        alternatives = tuple(
            (self._tokenizer.decode([token_id]), logprob)
            for token_id, logprob in event.top_logprobs
        )
        text = self._tokenizer.decode([event.token_id])
        return (TokenText(text, event.logprob, alternatives),)


def _overlap(text: str, stop: str) -> int:
    """Return how much of the end of `text` is a beginning of `stop`."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if stop.startswith(text[-n:])), 0)
