"""Which languages conversations are in, by py3langid (optional: ``descant[languages]``).

py3langid knows 139 languages by byte n-grams (https://github.com/adbar/py3langid); it needs a few
sentences to be right and always names one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from descant.schema import LabelledTranscript
from descant.schema.errors import MissingDependency

# More text does not make the answer surer.
_MOST_CHARACTERS = 2000


def count_languages(rows: Iterable[LabelledTranscript]) -> Counter[str]:
    """Count conversations by the ISO 639-1 code of their language.

    Raises:
        MissingDependency: py3langid is not installed.
    """
    try:
        from py3langid import classify
    except ModuleNotFoundError as error:
        raise MissingDependency(
            "Languages need the Python package py3langid.",
            remedy="Install it: pip install 'descant[languages]'",
        ) from error
    return Counter(str(classify(_text(row))[0]) for row in rows)


def _text(row: LabelledTranscript) -> str:
    return " ".join(turn.text for turn in row.transcript.turns)[:_MOST_CHARACTERS]
