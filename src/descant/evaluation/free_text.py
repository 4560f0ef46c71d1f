"""Scores of free text beside a reference."""

from __future__ import annotations

import re
from collections.abc import Sequence

_WORD = re.compile(r"\w+")


def rouge_l(reference: str, text: str) -> float:
    """Return the F1 of the longest common subsequence of words, from 0 to 1.

    Words are runs of letters and digits, in lower case and not stemmed. Of two texts without any word
    the score is 1.

    Source:
        Lin, ROUGE: A Package for Automatic Evaluation of Summaries, 2004, section 3.1, with beta 1.
    """
    expected, found = (_WORD.findall(each.casefold()) for each in (reference, text))
    if not expected and not found:
        return 1.0
    return 2 * common_length(expected, found) / (len(expected) + len(found))


def common_length(one: Sequence[str], other: Sequence[str]) -> int:
    """Return the length of the longest common subsequence."""
    row = [0] * (len(other) + 1)
    for word in one:
        above_left = 0
        for at, each in enumerate(other, start=1):
            above = row[at]
            row[at] = above_left + 1 if word == each else max(above, row[at - 1])
            above_left = above
    return row[-1]
