"""Takes personal values out of conversations and puts numbered placeholders in their place.

Within a conversation the same value gets the same placeholder, ``[CARD_1]``, so that what is said
about it can still be followed; the next conversation counts anew. What was found is counted by kind
and forgotten.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from descant.data.redaction.finding import PLACEHOLDER, Finder, Finding, Part, Place, written_parts
from descant.data.redaction.ibans import IbanFinder
from descant.data.redaction.mails import MailFinder
from descant.data.redaction.names import NameFinder
from descant.data.redaction.numbers import NumberFinder
from descant.schema import LabelledTranscript, Transcript, Turn
from descant.schema.errors import InvalidConfig

REDACTION_KINDS = ("card", "iban", "ssn", "routing", "account", "phone", "secret", "mail", "name")
"""What is looked for; where two findings overlap, the kind that comes first here wins."""


@dataclass(frozen=True)
class RedactionConfig:
    """What is taken out.

    Raises:
        InvalidConfig: a kind is unknown, or there is none.
    """

    kinds: tuple[str, ...] = REDACTION_KINDS
    roles: tuple[str, ...] = ()
    """Words of the speaker column that are no names, beside the usual such as ``agent``."""

    def __post_init__(self) -> None:
        unknown = [kind for kind in self.kinds if kind not in REDACTION_KINDS]
        if unknown or not self.kinds:
            raise InvalidConfig(
                f"Unknown kind {unknown[0]!r}." if unknown else "No kind to take out.",
                field="kinds",
                remedy=f"Known kinds: {', '.join(REDACTION_KINDS)}.",
            )


@dataclass(frozen=True)
class Redacted:
    """One conversation without the values, and how many there were of each kind."""

    transcript: Transcript
    counts: Mapping[str, int]


@dataclass(frozen=True)
class RedactionReport:
    """What was taken out of many conversations; never the values themselves."""

    conversations: int
    changed: int
    """Conversations something was taken out of."""
    counts: Mapping[str, int]
    """Values by kind, each counted once a conversation."""
    personal_ids: int
    """Conversations whose id looks like a personal value; ids are not changed."""


class Redactor:
    """Finds and replaces; `more` finders, such as Presidio's, come after our own."""

    def __init__(self, config: RedactionConfig | None = None, more: Sequence[Finder] = ()):
        config = config or RedactionConfig()
        self._kinds = config.kinds
        self._own = (NumberFinder(), IbanFinder(), MailFinder(), NameFinder(config.roles))
        self._more = tuple(more)

    def redact(self, transcript: Transcript) -> Redacted:
        """Return the conversation with placeholders; the same one if there is nothing to replace."""
        turns = transcript.turns
        numbers = _Numbers(turns)
        # What is replaced changes what stands beside a number, so look again until nothing is found;
        # every round leaves fewer characters that are not placeholders.
        while findings := self._find(turns):
            turns = _with_placeholders(turns, findings, numbers)
        counts = numbers.counts()
        return Redacted(replace(transcript, turns=turns) if counts else transcript, counts)

    def holds_value(self, text: str) -> bool:
        """Return whether anything would be taken out of `text`."""
        return bool(self._find((Turn("", text),)))

    def _find(self, turns: Sequence[Turn]) -> list[Finding]:
        """Return findings that do not overlap each other or a placeholder, in order."""
        taken = {(at, part): bytearray(len(text)) for at, part, text in written_parts(turns)}
        for place in _placeholders(turns):
            _take(taken, place)
        chosen: list[Finding] = []
        for finding in self._ranked(turns):
            if not any(any(_signs(taken, place)) for place in finding.places):
                chosen.append(finding)
                for place in finding.places:
                    _take(taken, place)
        return sorted(chosen, key=lambda finding: finding.places[0])

    def _ranked(self, turns: Sequence[Turn]) -> list[Finding]:
        own = [f for finder in self._own for f in finder.find(turns) if f.kind in self._kinds]
        more = [finding for finder in self._more for finding in finder.find(turns)]
        own.sort(key=lambda f: (REDACTION_KINDS.index(f.kind), -_size(f), f.places))
        return own + sorted(more, key=lambda f: (-_size(f), f.places, f.kind))


def redact_rows(
    rows: Sequence[LabelledTranscript],
    redactor: Redactor,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[list[LabelledTranscript], RedactionReport]:
    """Return the rows redacted, with their labels, and what was taken out.

    `on_progress` gets the number of rows done and of all rows after each.
    """
    clean: list[LabelledTranscript] = []
    counts: Counter[str] = Counter()
    changed = personal_ids = 0
    for row in rows:
        redacted = redactor.redact(row.transcript)
        fields = {name: _redacted_text(redactor, text) for name, text in row.fields.items()}
        clean.append(replace(row, transcript=redacted.transcript, fields=fields))
        counts.update(redacted.counts)
        changed += bool(redacted.counts)
        personal_ids += redactor.holds_value(row.transcript.id)
        if on_progress is not None:
            on_progress(len(clean), len(rows))
    return clean, RedactionReport(len(clean), changed, dict(sorted(counts.items())), personal_ids)


def _redacted_text(redactor: Redactor, text: str) -> str:
    if not redactor.holds_value(text):
        return text
    return redactor.redact(Transcript("field", (Turn("", text),))).transcript.turns[0].text


class _Numbers:
    """The number of each value in one conversation, after those that are already in its text."""

    def __init__(self, turns: Sequence[Turn]):
        self._last: Counter[str] = Counter()
        for _, _, text in written_parts(turns):
            for match in PLACEHOLDER.finditer(text):
                self._last[match[1]] = max(self._last[match[1]], int(match[2]))
        self._given: dict[tuple[str, str], int] = {}

    def placeholder(self, finding: Finding) -> str:
        kind, key = finding.kind.upper(), (finding.kind, finding.value)
        if key not in self._given:
            self._last[kind] += 1
            self._given[key] = self._last[kind]
        return f"[{kind}_{self._given[key]}]"

    def counts(self) -> dict[str, int]:
        return dict(sorted(Counter(kind for kind, _ in self._given).items()))


def _with_placeholders(
    turns: Sequence[Turn], findings: Iterable[Finding], numbers: _Numbers
) -> tuple[Turn, ...]:
    written = [(place, numbers.placeholder(f)) for f in findings for place in f.places]
    changed = list(turns)
    # From the end, so that what comes before keeps its place.
    for place, placeholder in sorted(written, reverse=True):
        turn = changed[place.turn]
        text = getattr(turn, place.part)
        text = text[: place.start] + placeholder + text[place.end :]
        changed[place.turn] = replace(turn, **{place.part: text})
    return tuple(changed)


def _placeholders(turns: Sequence[Turn]) -> list[Place]:
    return [
        Place(at, part, match.start(), match.end())
        for at, part, text in written_parts(turns)
        for match in PLACEHOLDER.finditer(text)
    ]


def _signs(taken: Mapping[tuple[int, Part], bytearray], place: Place) -> bytearray:
    """Return 1 for each character of a place that is taken, else 0."""
    return taken[place.turn, place.part][place.start : place.end]


def _take(taken: Mapping[tuple[int, Part], bytearray], place: Place) -> None:
    size = place.end - place.start
    taken[place.turn, place.part][place.start : place.end] = b"\x01" * size


def _size(finding: Finding) -> int:
    return sum(place.end - place.start for place in finding.places)
