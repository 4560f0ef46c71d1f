"""How far a judge agrees with people: measured once, kept under what it depends on, and checked.

A measurement is one JSON file, named by the hash of judge, prompt and labelled pairs. It holds what the
judge said of every pair; all figures are computed from that and from people's labels whenever it is
read, so a figure that somebody wrote into it is not believed.

Labelled pairs are JSON lines::

    {"id": "7", "turns": […], "question": "Why did they call?", "expected": "a refund",
     "first": "wants money back", "second": "greets", "label": "first"}

``label`` is ``first``, ``second`` or ``tie``; ``expected`` may be left out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from descant.data import read_objects
from descant.evaluation import PAIR_LABELS, JudgeAgreement, JudgedPair, PairLabel, judge_agreement
from descant.registry import replacing
from descant.release.endpoint_plan import EndpointPlan
from descant.release.judge import TextPair
from descant.release.judge_prompt import PROMPT_VERSION, prompt_hash
from descant.schema import to_transcript
from descant.schema.errors import InvalidData, InvalidTranscript

_TEXTS = ("question", "first", "second")
_KEYS = {"id", "turns", "label", "expected", *_TEXTS}


@dataclass(frozen=True)
class LabelledPair:
    """A pair, and which text people prefer."""

    pair: TextPair
    label: PairLabel


@dataclass(frozen=True)
class JudgeIdentity:
    """All that a measurement depends on."""

    url: str
    model: str
    max_answer_tokens: int
    prompt_version: int
    prompt_hash: str
    labels_hash: str

    @property
    def content_hash(self) -> str:
        """Hexadecimal digits over all of it."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class JudgeMeasurement:
    """What a judge said of pairs that people have labelled."""

    identity: JudgeIdentity
    judged: tuple[JudgedPair, ...]
    agreement: JudgeAgreement

    def to_json(self) -> dict[str, Any]:
        """Return plain dictionaries and lists."""
        return {
            "judge": asdict(self.identity),
            "content_hash": self.identity.content_hash,
            "agreement": self.agreement.to_json(),
        }


def identity_of(plan: EndpointPlan, labelled: Sequence[LabelledPair]) -> JudgeIdentity:
    """Return what a measurement of this judge on these pairs is known by."""
    text = json.dumps([asdict(each) for each in labelled], sort_keys=True)
    return JudgeIdentity(
        plan.address,
        plan.model or "",
        plan.max_answer_tokens,
        PROMPT_VERSION,
        prompt_hash(),
        f"sha256:{hashlib.sha256(text.encode()).hexdigest()}",
    )


def measure(
    identity: JudgeIdentity, labelled: Sequence[LabelledPair], judged: Sequence[JudgedPair]
) -> JudgeMeasurement:
    """Compare a judge with people."""
    agreement = judge_agreement([each.label for each in labelled], judged)
    assert agreement is not None, "a file of pairs has some"
    return JudgeMeasurement(identity, tuple(judged), agreement)


def write_measurement(folder: Path, measurement: JudgeMeasurement) -> Path:
    """Write it under its name, whole or not at all, and return where."""
    path = _path(folder, measurement.identity)
    said = [asdict(pair) for pair in measurement.judged]
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write((json.dumps(measurement.to_json() | {"judged": said}, indent=1) + "\n").encode())
    return path


def read_measurement(
    folder: Path, identity: JudgeIdentity, labelled: Sequence[LabelledPair]
) -> JudgeMeasurement | None:
    """Return the measurement of this judge on these pairs, computed anew; None where there is none.

    Raises:
        InvalidData: the file is not what its name says, or its figures are not those of its verdicts.
    """
    path = _path(folder, identity)
    if not path.is_file():
        return None
    try:
        table = json.loads(path.read_bytes())
        judged = [JudgedPair(*_verdicts(each)) for each in table["judged"]]
        found = measure(identity, labelled, judged)
        stated = {key: table[key] for key in found.to_json()}
    except (InvalidData, KeyError, TypeError, ValueError) as error:
        raise _foreign(path) from error
    if stated != json.loads(json.dumps(found.to_json())):
        raise _foreign(path)
    return found


def read_labelled_pairs(path: Path) -> tuple[LabelledPair, ...]:
    """Read pairs that people have labelled.

    Raises:
        InvalidData: there are none, or a line is not one; names file and line.
    """
    pairs = tuple(
        _labelled(table, f"{path}, line {number}") for number, table in read_objects(path)
    )
    if not pairs:
        raise InvalidData(f"{path}: has no pair in it.", field="labels")
    return pairs


def _labelled(table: Mapping[str, Any], origin: str) -> LabelledPair:
    missing = _KEYS - {"expected"} - set(table)
    if missing or set(table) - _KEYS:
        raise InvalidData(f"{origin}: must have {', '.join(sorted(_KEYS))}.", field="labels")
    texts = [table[key] for key in (*_TEXTS, "label")] + [table.get("expected", "")]
    if not all(isinstance(text, str) for text in texts) or table["label"] not in PAIR_LABELS:
        raise InvalidData(
            f"{origin}: label must be one of {', '.join(PAIR_LABELS)}, and texts must be text.",
            field="labels",
        )
    question, first, second, label, expected = texts
    if not (question.strip() and first.strip() and second.strip()):
        raise InvalidData(
            f"{origin}: question, first and second must not be empty.", field="labels"
        )
    try:
        transcript = to_transcript({"id": table["id"], "turns": table["turns"]})
    except InvalidTranscript as error:
        raise InvalidData(f"{origin}: {error.message}", field="turns") from error
    return LabelledPair(TextPair(transcript, "pair", question, expected, first, second), label)


def _verdicts(table: Mapping[str, Any]) -> tuple[PairLabel | None, PairLabel | None, str]:
    found = [table["as_given"], table["swapped"]]
    if not all(each is None or each in PAIR_LABELS for each in found):
        raise ValueError("no verdict")
    return found[0], found[1], str(table["reason"])


def _path(folder: Path, identity: JudgeIdentity) -> Path:
    return folder / f"{identity.content_hash}.json"


def _foreign(path: Path) -> InvalidData:
    return InvalidData(
        f"{path}: is not the measurement its name says, or was changed.",
        field="measurements",
        remedy="Remove it, and measure the judge again with descant judge.",
    )
