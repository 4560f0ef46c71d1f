"""From files of any format to labelled conversations that can be written: nothing, or all of it.

What is done to each conversation, in this order: speakers get other names, labels from beside it are
added and checked, and at last it is redacted, so that nothing leaves here that a redactor has not
seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from descant.configuration import did_you_mean
from descant.data.importers.formats import Format, ReadOptions, find_format
from descant.data.importers.import_summary import ImportSummary
from descant.data.importers.label_file import LabelFile
from descant.data.importers.signature import format_of, guess_format
from descant.data.importers.source_file import Found, SourceFile, find_files
from descant.data.transcripts import validate_labels
from descant.schema import LabelledTranscript, Transcript, Turn
from descant.schema.errors import (
    DuplicateId,
    InvalidConfig,
    InvalidData,
    InvalidTranscript,
    WrongFormat,
)

Redact = Callable[[Transcript], Transcript]
"""Returns a conversation without what must not be stored."""


def unredacted(transcript: Transcript) -> Transcript:
    """Return the conversation as it is."""
    return transcript


@dataclass(frozen=True)
class ImportSteps:
    """What is done to every conversation of an import."""

    options: ReadOptions = ReadOptions()
    speakers: Mapping[str, str] = field(default_factory=dict)
    """Speaker to the name that takes its place."""
    labels: LabelFile | None = None
    redact: Redact = unredacted


_NO_STEPS = ImportSteps()


class SourceImport:
    """One import: read it once, to its end, and the summary is complete."""

    def __init__(self, found: Found, file_format: Format, steps: ImportSteps):
        self._found = found
        self._format = file_format
        self._steps = steps
        self.summary = ImportSummary(file_format.name, len(found.files), found.num_other)

    @property
    def about(self) -> str:
        """What is read, in a few words."""
        return f"{self._format.name}: {self._format.about}"

    def rows(
        self, on_file: Callable[[int, int], None] = lambda *_: None
    ) -> Iterator[LabelledTranscript]:
        """Yield the conversations of all files; `on_file` gets the files done and in all.

        Raises:
            InvalidData: a file is wrong, nothing was said in any, or none of the labels belongs to
                a conversation.
            InvalidTranscript: a conversation is malformed.
            WrongFormat: a file is of another format.
            DuplicateId: two conversations have the same id.
            InvalidConfig: there is no speaker of a name that is to be changed.
        """
        path_of: dict[str, Path] = {}
        spoke: set[str] = set()
        for done, file in enumerate(self._found.files, start=1):
            for row in self._read(file):
                _check_new(row.transcript.id, file.path, path_of)
                spoke.update(turn.speaker for turn in row.transcript.turns)
                ready = _prepare(row, self._steps)
                self.summary.add(ready)
                yield ready
            on_file(done, len(self._found.files))
        self._check_some()
        _check_renamed(self._steps.speakers, spoke)
        if self._steps.labels is not None:
            self.summary.labels_unused = _count_unused(self._steps.labels, path_of)

    def _read(self, file: SourceFile) -> Iterator[LabelledTranscript]:
        on_skip = self.summary.left_out.__setitem__
        try:
            yield from self._format.read(file, self._steps.options, on_skip)
        except (InvalidData, InvalidTranscript) as error:
            likely = _likely_format(file.path)
            if likely in (None, self._format.name):
                raise
            hint = f"The file looks like {likely}, not {self._format.name}: try --format {likely}."
            remedy = hint if error.remedy is None else f"{error.remedy} {hint}"
            raise WrongFormat(error.message, field="format", remedy=remedy) from error

    def _check_some(self) -> None:
        if not self.summary.conversations:
            first, *others = self._found.files
            reasons = ", ".join(sorted(set(self.summary.left_out.values()))) or "nothing is in it"
            more = f" and {len(others)} more" if others else ""
            raise InvalidData(
                f"{first.path}{more}: no conversation came in: {reasons}.", field="source"
            )


def open_import(
    source: Path,
    format_name: str | None = None,
    steps: ImportSteps = _NO_STEPS,
    beside: Sequence[Path] = (),
) -> SourceImport:
    """Find the files of a source, and without a name their format; `beside` are none of them.

    Raises:
        InvalidConfig: there is no such format, or it cannot be told.
        InvalidData: there is no such file or folder, or no file in it is of the format.
    """
    not_read = [*beside, *([steps.labels.path] if steps.labels is not None else [])]
    file_format = find_format(format_name or guess_format(source, not_read))
    return SourceImport(find_files(source, file_format.patterns, not_read), file_format, steps)


def _likely_format(path: Path) -> str | None:
    try:
        return format_of(path)
    except InvalidData:
        # What is wrong with the file has been found already, by its reader.
        return None


def _prepare(row: LabelledTranscript, steps: ImportSteps) -> LabelledTranscript:
    row = replace(row, transcript=_rename(row.transcript, steps.speakers))
    if steps.labels is not None:
        row = steps.labels.label(row)
    validate_labels([row], steps.options.indicators)
    return replace(row, transcript=steps.redact(row.transcript))


def _rename(transcript: Transcript, names: Mapping[str, str]) -> Transcript:
    if not names:
        return transcript
    turns = (Turn(names.get(turn.speaker, turn.speaker), turn.text) for turn in transcript.turns)
    return Transcript(transcript.id, tuple(turns))


def _check_new(transcript_id: str, path: Path, path_of: dict[str, Path]) -> None:
    if transcript_id in path_of:
        raise DuplicateId(
            f"{path}: id {transcript_id!r} was used in {path_of[transcript_id]} before.",
            field="id",
            remedy="Give every conversation its own id.",
        )
    path_of[transcript_id] = path


def _check_renamed(names: Mapping[str, str], spoke: set[str]) -> None:
    for name in names:
        if name not in spoke:
            raise InvalidConfig(
                f"Nobody called {name!r} speaks, so there is nobody to rename.",
                field="rename",
                remedy=f"{did_you_mean(name, sorted(spoke))} Speakers: "
                f"{', '.join(sorted(spoke))}.".strip(),
            )


def _count_unused(labels: LabelFile, path_of: Mapping[str, Path]) -> int:
    unused = [key for key in labels.rows if key not in path_of]
    if len(unused) == len(labels.rows):
        raise InvalidData(
            f"{labels.path}, column 'id': none of its ids is one of a conversation, such as "
            f"{next(iter(path_of))!r}.",
            field="id",
            remedy="The id of a conversation that is a file is the file's name without ending.",
        )
    return len(unused)
