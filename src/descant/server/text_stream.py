"""The text of one generation as it comes: characters made whole, stop strings cut off.

In: the engine's tokens. Out: pieces of text with the log-probabilities of their tokens. Text that
may turn out to be the beginning of a stop string is held back until that is known.
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
            self._held += self._detokenizer.push(word.token_id)
            text, is_stopped = self._release()
            return TextPiece(text, self._token_texts(word), "stop" if is_stopped else None)
        assert isinstance(word, GenerateResult)
        self.usage.cached_tokens = word.num_cached
        self._held += self._detokenizer.finish()
        text, is_stopped = self._release()
        reason = "stop" if is_stopped else word.finish_reason.value
        return TextPiece(text if is_stopped else text + self._held, (), reason)

    def _release(self) -> tuple[str, bool]:
        """Return the text that is safe to give out, and whether a stop string has come."""
        found = [(at + len(s), at) for s in self._stop if (at := self._held.find(s)) >= 0]
        if found:
            # The one complete first, however the text is cut into tokens; the longest of those.
            return self._held[: min(found)[1]], True
        keep = max((_overlap(self._held, stop) for stop in self._stop), default=0)
        text, self._held = (
            self._held[: len(self._held) - keep],
            self._held[len(self._held) - keep :],
        )
        return text, False

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
