"""Presidio's recognisers as one more finder: the optional extra ``descant[presidio]``.

Without a model of the language Presidio matches patterns only: addresses of machines and wallets, tax
and health numbers. With the name of an installed spaCy pipeline it also finds people who are talked
about, and places. Nothing is fetched: its recognisers of mail addresses and links, which ask the
network for a list of domains, are left out.
https://microsoft.github.io/presidio/analyzer/
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from descant.data.redaction.finding import Finding, Place, written_parts
from descant.schema import Turn
from descant.schema.errors import InvalidConfig, MissingDependency

_NETWORKED = ("EMAIL_ADDRESS", "URL")
# Dates, nationalities and organisations are what conversations are about, not whom.
_UNWANTED = ("DATE_TIME", "NRP", "ORGANIZATION", *_NETWORKED)
_KINDS = {
    "CREDIT_CARD": "card",
    "IBAN_CODE": "iban",
    "PERSON": "name",
    "PHONE_NUMBER": "phone",
    "US_BANK_NUMBER": "account",
    "US_SSN": "ssn",
}


@dataclass(frozen=True)
class PresidioConfig:
    """What is asked of Presidio.

    Raises:
        InvalidConfig: the score is not between 0 and 1.
    """

    spacy_model: str | None = None
    """An installed spaCy pipeline such as ``en_core_web_lg``; None for patterns alone."""
    language: str = "en"
    min_score: float = 0.5
    """Between 0 and 1; Presidio gives patterns without a check digit less."""

    def __post_init__(self) -> None:
        if not 0 <= self.min_score <= 1:
            raise InvalidConfig("min_score is not between 0 and 1.", field="min_score")


class PresidioFinder:
    """Finds what Presidio recognises, in each turn alone.

    Raises:
        MissingDependency: Presidio or the spaCy pipeline is not installed.
    """

    def __init__(self, config: PresidioConfig | None = None):
        self._config = config or PresidioConfig()
        self._analyzer = _analyzer(self._config)
        supported = self._analyzer.get_supported_entities(self._config.language)
        self._entities = sorted(set(supported) - set(_UNWANTED))

    def find(self, turns: Sequence[Turn]) -> Iterator[Finding]:
        """Yield findings of our kinds, else of kinds named as Presidio does, in small letters."""
        for at, part, text in written_parts(turns):
            for result in self._analyze(text):
                kind = _KINDS.get(result.entity_type, result.entity_type.lower())
                place = Place(at, part, result.start, result.end)
                yield Finding(kind, text[result.start : result.end].casefold(), (place,))

    def _analyze(self, text: str) -> Sequence[Any]:
        found: Sequence[Any] = self._analyzer.analyze(
            text=text,
            language=self._config.language,
            entities=self._entities,
            score_threshold=self._config.min_score,
        )
        return found


def _analyzer(config: PresidioConfig) -> Any:
    try:
        from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
    except ModuleNotFoundError as error:
        raise MissingDependency(
            "Presidio is not installed.", remedy="Install it: pip install 'descant[presidio]'"
        ) from error
    engine = _nlp_engine(config)
    engine.load()
    registry = RecognizerRegistry(supported_languages=[config.language])
    registry.load_predefined_recognizers(languages=[config.language], nlp_engine=engine)
    return AnalyzerEngine(registry, engine, supported_languages=[config.language])


def _nlp_engine(config: PresidioConfig) -> Any:
    from presidio_analyzer.nlp_engine import NoOpNlpEngine, SpacyNlpEngine

    if config.spacy_model is None:
        return NoOpNlpEngine([{"lang_code": config.language, "model_name": ""}])
    import spacy

    if not spacy.util.is_package(config.spacy_model):
        # Presidio would fetch it.
        raise MissingDependency(
            f"The spaCy pipeline {config.spacy_model!r} is not installed.",
            field="spacy_model",
            remedy=f"Install it: python -m spacy download {config.spacy_model}",
        )
    return SpacyNlpEngine([{"lang_code": config.language, "model_name": config.spacy_model}])
