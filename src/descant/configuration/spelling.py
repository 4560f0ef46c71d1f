"""What somebody may have meant by a word that is not among the known ones."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

_LIKE_ENOUGH = 0.5


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``Did you mean 'yes'?`` for the known word closest to `word`, or an empty text."""
    # Of words that differ in case only, the first one is as good as any.
    by_folded = {name.strip().casefold(): name for name in reversed(list(known))}
    close = get_close_matches(word.strip().casefold(), by_folded, n=1, cutoff=_LIKE_ENOUGH)
    return f"Did you mean {by_folded[close[0]]!r}?" if close else ""
