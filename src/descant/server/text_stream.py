"""The text of one generation as it comes: characters made whole, stop strings cut off.

In: the engine's tokens. Out: pieces of text with the log-probabilities of their tokens. Text that
may turn out to be the beginning of a stop string is held back until that is known.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from descant.engine import GenerateResult, TokenEvent
from descant.server.engine_thread import Word
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

    def __init__(self, words: AsyncIterator[Word], tokenizer: Tokenizer, stop: Sequence[str] = ()):
        self.usage = TextUsage()
        self._words = words
        self._tokenizer = tokenizer
        self._detokenizer = Detokenizer(tokenizer)
        self._stop = tuple(stop)
        self._held = ""

    async def pieces(self) -> AsyncIterator[TextPiece]:
        """Yield the text; leaving early cancels the generation.

        Raises:
            DescantError: the generation failed.
        """
        try:
            async for word in self._words:
                piece = self._take(word)
                if piece.text or piece.tokens or piece.finish_reason is not None:
                    yield piece
                if piece.finish_reason is not None:
                    return
        finally:
            # Closing it takes the request out of the engine, wherever it stands.
            await self._words.aclose()  # type: ignore[attr-defined]

    def _take(self, word: Word) -> TextPiece:
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
        found = [at for at in (self._held.find(stop) for stop in self._stop) if at >= 0]
        if found:
            return self._held[: min(found)], True
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
