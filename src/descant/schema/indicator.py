"""An indicator: one question asked of every conversation, with a closed set of answers or a short text.

On disk an indicator is one small TOML file, and a set of indicators is a folder of them::

    name = "refund_offered"
    question = "Did the agent offer a refund or a credit?"
    labels = ["no", "yes"]
    positive = ["yes"]

Optional keys: ``kind`` (``binary``, ``multiclass`` or ``ordinal``; binary when there are two labels,
else multiclass), ``adapter`` (a folder or registered name, the indicator's own name by default),
and what a scorecard needs: ``section``, ``weight``, ``critical``, ``auto_fail``,
``not_applicable``.

An answer in the adapter's own words, such as why somebody called, has no labels::

    name = "call_reason"
    question = "Why did the customer call?"
    kind = "text"
    max_tokens = 24
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, cast, get_args

from descant.schema.errors import (
    InputError,
    InvalidIndicator,
    UnknownIndicator,
    join_errors,
)

Kind = Literal["binary", "multiclass", "ordinal", "text"]

DEFAULT_TEXT_TOKENS = 32

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")


@dataclass(frozen=True)
class Indicator:
    """One question with an ordered, closed set of labels, or none where the answer is a text.

    Raises:
        InvalidIndicator: names the field that is missing, unknown or contradictory.
    """

    name: str
    question: str
    labels: tuple[str, ...]
    """In order: for ``ordinal`` from lowest to highest."""
    positive: tuple[str, ...]
    """The labels that count as positive when one F1 is reported."""
    kind: Kind
    adapter: str
    section: str | None = None
    weight: float = 1.0
    critical: bool = False
    auto_fail: tuple[str, ...] = ()
    """Labels that fail the whole scorecard."""
    not_applicable: str | None = None
    """The label that takes this indicator out of the score."""
    max_tokens: int | None = None
    """Of a text, the longest there may be; None where there are labels."""

    def __post_init__(self) -> None:
        self._check_name()
        if self.is_text:
            self._check_text()
        else:
            self._check_labels()

    @property
    def is_text(self) -> bool:
        """True where the answer is a short text and not one of several labels."""
        return self.kind == "text"

    def _check_name(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise InvalidIndicator(
                f"Indicator name {self.name!r} is not usable.",
                field="name",
                remedy="Use lower-case letters, digits and underscores, at most 64, letter first.",
            )
        if not self.question.strip():
            raise InvalidIndicator(f"Indicator {self.name!r} has no question.", field="question")

    def _check_text(self) -> None:
        for field in ("labels", "positive", "auto_fail", "not_applicable"):
            if getattr(self, field):
                self._refuse(field, "has no use where kind is text")
        if self.max_tokens is None or self.max_tokens < 1:
            self._refuse("max_tokens", "must be at least 1 where kind is text")

    def _check_labels(self) -> None:
        if self.max_tokens is not None:
            self._refuse("max_tokens", "is for kind text; labels are as long as they are")
        if len(self.labels) < 2 or len(set(self.labels)) != len(self.labels):
            self._refuse("labels", "needs two or more labels, each different")
        if any(not label.strip() or label != label.strip() for label in self.labels):
            self._refuse("labels", "has an empty label or one with space around it")
        if self.kind == "binary" and len(self.labels) != 2:
            self._refuse("kind", "is binary but does not have two labels")
        if not self.positive or not set(self.positive) < set(self.labels):
            self._refuse("positive", "must name some, not all, of the labels")
        if not set(self.auto_fail) <= set(self.labels):
            self._refuse("auto_fail", "names a label that is not in labels")
        if self.not_applicable is not None and self.not_applicable not in self.labels:
            self._refuse("not_applicable", "names a label that is not in labels")
        if self.weight < 0:
            self._refuse("weight", "must not be negative")

    def _refuse(self, field: str, reason: str) -> None:
        raise InvalidIndicator(f"Indicator {self.name!r}: {field} {reason}.", field=field)


def parse_indicator(table: Mapping[str, Any], origin: str) -> Indicator:
    """Build an indicator from a TOML table; `origin` is named in errors.

    Raises:
        InvalidIndicator: a key is unknown, missing or of the wrong type.
    """
    _check_keys(table, origin)
    labels = _texts(table, "labels", origin) if "labels" in table else ()
    kind = table.get("kind", "binary" if len(labels) == 2 else "multiclass")
    if kind not in get_args(Kind):
        raise InvalidIndicator(
            f"{origin}: kind {kind!r} is not one of {get_args(Kind)}.", field="kind"
        )
    return Indicator(
        name=_text(table, "name", origin),
        question=_text(table, "question", origin),
        labels=labels,
        positive=_texts(table, "positive", origin) if "positive" in table else labels[-1:],
        kind=cast("Kind", kind),
        adapter=_text(table, "adapter", origin) if "adapter" in table else str(table["name"]),
        section=_text(table, "section", origin) if "section" in table else None,
        weight=_number(table, "weight", origin) if "weight" in table else 1.0,
        critical=bool(table.get("critical", False)),
        auto_fail=_texts(table, "auto_fail", origin) if "auto_fail" in table else (),
        not_applicable=(
            _text(table, "not_applicable", origin) if "not_applicable" in table else None
        ),
        max_tokens=_max_tokens(table, origin) if kind == "text" else table.get("max_tokens"),
    )


def indicator_toml(indicator: Indicator) -> str:
    """Return the text of a file that `load_indicator` reads as this indicator."""
    stated: dict[str, Any] = {"name": indicator.name, "question": indicator.question}
    if indicator.is_text:
        stated["kind"] = "text"
    else:
        stated["labels"] = list(indicator.labels)
    implied = asdict(parse_indicator(stated, indicator.name))
    for key, value in asdict(indicator).items():
        if value != implied[key] or (key == "positive" and value):
            stated[key] = value
    # Texts, numbers, truths and lists of texts are written alike in JSON and TOML.
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in stated.items()]
    return "\n".join(lines) + "\n"


def load_indicator(path: Path) -> Indicator:
    """Read one indicator file.

    Raises:
        InvalidIndicator: the file is not TOML, or a field is wrong.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidIndicator(f"{path}: not readable as TOML: {error}.") from error
    return parse_indicator(table, str(path))


def load_indicators(folder: Path) -> tuple[Indicator, ...]:
    """Read every ``*.toml`` of a folder, sorted by file name.

    Raises:
        UnknownIndicator: the folder is missing or holds no indicator.
        InvalidIndicator: a file is wrong, or two files have the same name in them; says so of every
            file.
    """
    paths = sorted(folder.glob("*.toml")) if folder.is_dir() else []
    if not paths:
        raise UnknownIndicator(
            f"No indicator files in {folder}.",
            remedy="An indicator is one TOML file; see the README.",
        )
    path_of: dict[str, Path] = {}
    indicators, mistakes = [], list[InputError]()
    for path in paths:
        try:
            indicator = load_indicator(path)
            _check_new(indicator, path, path_of)
        except InvalidIndicator as error:
            mistakes.append(error)
        else:
            indicators.append(indicator)
            path_of[indicator.name] = path
    if mistakes:
        raise join_errors(mistakes)
    return tuple(indicators)


def pick_indicators(indicators: Iterable[Indicator], names: Iterable[str]) -> tuple[Indicator, ...]:
    """Return the named indicators in the order asked for.

    Raises:
        UnknownIndicator: a name is not among `indicators`.
    """
    by_name = {indicator.name: indicator for indicator in indicators}
    missing = [name for name in names if name not in by_name]
    if missing:
        raise UnknownIndicator(
            f"Unknown indicator: {', '.join(missing)}.",
            field="indicators",
            remedy=f"Known: {', '.join(sorted(by_name))}.",
        )
    return tuple(by_name[name] for name in names)


def _check_new(indicator: Indicator, path: Path, path_of: Mapping[str, Path]) -> None:
    if indicator.name in path_of:
        raise InvalidIndicator(
            f"{path}: name {indicator.name!r} is used twice, in {path_of[indicator.name].name} too.",
            field="name",
        )


def _check_keys(table: Mapping[str, Any], origin: str) -> None:
    known = {field.name for field in fields(Indicator)}
    unknown = sorted(set(table) - known)
    if unknown:
        raise InvalidIndicator(
            f"{origin}: unknown key {unknown[0]!r}.",
            field=unknown[0],
            remedy=f"Known keys: {', '.join(sorted(known))}.",
        )
    needed = ("name", "question", *(() if table.get("kind") == "text" else ("labels",)))
    for key in needed:
        if key not in table:
            raise InvalidIndicator(f"{origin}: {key} is missing.", field=key)


def _text(table: Mapping[str, Any], key: str, origin: str) -> str:
    value = table[key]
    if not isinstance(value, str):
        raise InvalidIndicator(f"{origin}: {key} must be text.", field=key)
    return value


def _texts(table: Mapping[str, Any], key: str, origin: str) -> tuple[str, ...]:
    value = table[key]
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise InvalidIndicator(f"{origin}: {key} must be a list of texts.", field=key)
    return tuple(value)


def _max_tokens(table: Mapping[str, Any], origin: str) -> int:
    value = table.get("max_tokens", DEFAULT_TEXT_TOKENS)
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidIndicator(f"{origin}: max_tokens must be a whole number.", field="max_tokens")
    return value


def _number(table: Mapping[str, Any], key: str, origin: str) -> float:
    value = table[key]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidIndicator(f"{origin}: {key} must be a number.", field=key)
    return float(value)
