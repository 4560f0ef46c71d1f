"""The baseline every adapter has to beat: word counts and a linear classifier.

Knows nothing of order beyond pairs of neighbouring words. Where it does as well as an adapter, the
indicator asks for keywords, not for understanding.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from descant.schema import (
    Answer,
    Indicator,
    LabelledTranscript,
    Scorecard,
    Transcript,
    Usage,
    unanswered,
)
from descant.schema.errors import InvalidData

SOURCE = "bag-of-words"

_MANY_ROWS = 100
# Less regularised than scikit-learn's default of 1, which is weaker on STAR at every size tried.
_INVERSE_REGULARISATION = 10.0


@dataclass(frozen=True)
class BagOfWords:
    """TF-IDF over words and word pairs, and one logistic regression an indicator; a completer."""

    vectorizer: Any
    classifiers: Mapping[str, Any]
    """By indicator name; a text instead of a classifier says why there is none."""
    clock: Callable[[], float] = time.perf_counter

    @classmethod
    def fit(
        cls, rows: Iterable[LabelledTranscript], indicators: Sequence[Indicator], seed: int = 0
    ) -> BagOfWords:
        """Learn every indicator from the rows that have a label for it.

        Raises:
            InvalidData: there are no rows, or no word in them.
        """
        kept = list(rows)
        # Words seen once only add noise, unless there are few conversations to see them in.
        min_df = 2 if len(kept) >= _MANY_ROWS else 1
        vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=min_df)
        try:
            features = vectorizer.fit_transform([_text_of(row.transcript) for row in kept])
        except ValueError as error:
            raise InvalidData(
                "The conversations to learn from hold no words.", field="rows"
            ) from error
        classifiers = {
            indicator.name: _fit_one(features, [r.labels.get(indicator.name) for r in kept], seed)
            for indicator in indicators
        }
        return cls(vectorizer, classifiers)

    def score(self, transcript: Transcript, indicators: Sequence[Indicator]) -> Scorecard:
        """Return an answer to every indicator, unanswered where there was too little to learn."""
        started = self.clock()
        features = self.vectorizer.transform([_text_of(transcript)])
        answers = tuple(self._answer(indicator, features) for indicator in indicators)
        return Scorecard(transcript.id, answers, Usage(0, 0, self.clock() - started))

    def _answer(self, indicator: Indicator, features: Any) -> Answer:
        classifier = self.classifiers.get(indicator.name, "It was not learned.")
        if isinstance(classifier, str):
            return unanswered(indicator.name, classifier)
        probabilities = dict.fromkeys(indicator.labels, 0.0)
        shares = classifier.predict_proba(features)[0]
        for label, share in zip(classifier.classes_, shares, strict=True):
            probabilities[str(label)] = float(share)
        label = max(probabilities, key=lambda name: probabilities[name])
        return Answer(
            indicator=indicator.name,
            label=label,
            probabilities=probabilities,
            confidence=probabilities[label],
            adapter=None,
            source=SOURCE,
        )


def _text_of(transcript: Transcript) -> str:
    return "\n".join(f"{turn.speaker}: {turn.text}" for turn in transcript.turns)


def _fit_one(features: Any, labels: Sequence[str | None], seed: int) -> Any:
    labelled = [at for at, label in enumerate(labels) if label is not None]
    found = sorted({label for label in labels if label is not None})
    if len(found) < 2:
        seen = f"only the label {found[0]!r}" if found else "no label"
        return f"The conversations learned from have {seen}."
    classifier = LogisticRegression(
        C=_INVERSE_REGULARISATION, class_weight="balanced", max_iter=1000, random_state=seed
    )
    return classifier.fit(features[labelled], [labels[at] for at in labelled])
