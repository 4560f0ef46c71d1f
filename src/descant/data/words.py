"""The words of a conversation as comparisons see them: small letters, no punctuation.

Phrases of several words are compared as 64-bit numbers. A hash that Python changes from process to
process would do for that, but this one gives the same figures everywhere.
"""

from __future__ import annotations

import re
import unicodedata
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from descant.schema import Transcript

PhraseArray = NDArray[np.uint64]

_WORD = re.compile(r"\w+(?:'\w+)*")
# Odd, so that multiplying by it loses no bits.
_STEP = np.uint64(0x9E3779B97F4A7C15)


def words_of(transcript: Transcript) -> list[str]:
    """Return the words of all turns in order, without the speakers."""
    text = "\n".join(turn.text for turn in transcript.turns)
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).replace("\u2019", "'")
    return _WORD.findall(text.casefold())


class WordNumbers(dict[str, int]):
    """A 64-bit number for every word, made when it is first asked for."""

    def __missing__(self, word: str) -> int:
        """Return the number of a word not seen before."""
        digest = blake2b(word.encode(errors="surrogatepass"), digest_size=8).digest()
        self[word] = int.from_bytes(digest, "little")
        return self[word]

    def of(self, words: list[str]) -> PhraseArray:
        """Return the numbers of words, in order."""
        return np.fromiter(map(self.__getitem__, words), np.uint64, len(words))


def phrases(numbers: PhraseArray, length: int) -> PhraseArray:
    """Return one number for every `length` neighbouring words, ``[N]`` to ``[N - length + 1]``.

    Semantics:
        out[i] = sum over j of numbers[i + j] * step^j, modulo 2^64
    """
    count = len(numbers) - length + 1
    total = np.zeros(max(count, 0), np.uint64)
    factor = np.uint64(1)
    for shift in range(length if count > 0 else 0):
        total += numbers[shift : shift + count] * factor
        # Python's integers, because overflow of a numpy scalar warns.
        factor = np.uint64(int(factor) * int(_STEP) % 2**64)
    return total
