"""Whether a stage's answer will do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson

from descant.gateway.cascade.offers import Offer
from descant.gateway.cascade.stages import StageConfig
from descant.gateway.cascade.thresholds import ModelThresholds, Thresholds
from descant.schema.errors import InputError, InvalidConfig, MissingDependency

Fits = Callable[[Any], bool]
"""Whether a JSON value fits a schema."""


class Acceptance:
    """One stage's rules; says in a word why an answer is not taken."""

    def __init__(self, model: str, stage: StageConfig, thresholds: Thresholds):
        """Read the stage's schema and see to it that schemas can be checked.

        Raises:
            InvalidConfig: the schema file holds none.
            MissingDependency: no package checks schemas.
        """
        self._model = model
        self._stage = stage
        self._thresholds = thresholds
        self._fits = _file_schema(stage.schema_file) if stage.schema_file is not None else None
        if "schema" in stage.accept:
            compile_schema({})

    def request_schema(self, body: Mapping[str, Any]) -> Fits | None:
        """Return what a request says an answer must fit; None where the stage does not ask.

        Raises:
            InputError: the request's schema is none.
        """
        if "schema" not in self._stage.accept:
            return None
        return self._fits or _request_schema(body)

    def refusal(self, unit: str, offer: Offer, fits: Fits | None) -> str | None:
        """Return why the answer is not taken; None if it is."""
        for rule in self._stage.accept:
            if rule == "confidence":
                reason = self._unsure(unit, offer)
            elif rule == "schema":
                reason = _misfit(offer, fits)
            else:
                reason = _empty(offer)
            if reason is not None:
                return reason
        return None

    def _unsure(self, unit: str, offer: Offer) -> str | None:
        if offer.confidence is None:
            return "no_confidence"
        known = self._thresholds.of(unit, self._model)
        least = known or ModelThresholds(self._stage.min_confidence)
        return None if least.accepts(offer.label, offer.confidence) else "unsure"


def compile_schema(schema: Any) -> Fits:
    """Return the check of a JSON schema, which fetches nothing and whose patterns take linear time.

    Raises:
        MissingDependency: the package that checks schemas is not installed.
        ValueError: it is no schema, or points elsewhere.
    """
    try:
        import jsonschema_rs
    except ModuleNotFoundError as error:
        raise MissingDependency(
            "The rule 'schema' needs the Python package jsonschema_rs.",
            remedy="Install it: pip install jsonschema-rs",
        ) from error
    validator = jsonschema_rs.validator_for(
        schema, offline=True, pattern_options=jsonschema_rs.RegexOptions()
    )
    return validator.is_valid


def _file_schema(path: Path) -> Fits:
    try:
        return compile_schema(orjson.loads(path.read_bytes()))
    except ValueError as error:
        raise InvalidConfig(f"{path} is no JSON schema: {error}.", field="schema_file") from error


def _request_schema(body: Mapping[str, Any]) -> Fits:
    """Return the check of a request's `response_format`; of none: any JSON value fits."""
    asked = body.get("response_format")
    kind = asked.get("type") if isinstance(asked, Mapping) else None
    if not isinstance(asked, Mapping) or kind != "json_schema":
        return compile_schema({"type": "object"} if kind == "json_object" else {})
    try:
        return compile_schema(asked["json_schema"]["schema"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            "response_format has no JSON schema that can be checked.", field="response_format"
        ) from error


def _misfit(offer: Offer, fits: Fits | None) -> str | None:
    assert fits is not None, "a stage with the rule schema has a check"
    if offer.has_tool_calls and not any(offer.texts):
        return None  # What is called has its own schema; the format is that of texts.
    if not offer.texts:
        return "no_text"
    for text in offer.texts:
        try:
            value = orjson.loads(text)
        except orjson.JSONDecodeError:
            return "not_json"
        if not fits(value):
            return "schema"
    return None


def _empty(offer: Offer) -> str | None:
    says = offer.has_tool_calls or offer.label or (offer.texts and all(map(str.strip, offer.texts)))
    return None if says else "empty"
