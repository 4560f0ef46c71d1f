"""The formats an import knows, by name: which files of a folder they are in, and how they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from descant.data.importers.contact_lens import read_contact_lens
from descant.data.importers.csv_file import read_csv
from descant.data.importers.deepgram import read_deepgram
from descant.data.importers.multidogo import read_multidogo
from descant.data.importers.openai_chat import read_openai_chat
from descant.data.importers.parquet_file import read_parquet
from descant.data.importers.source_file import NOTHING_SAID, OnSkip, SourceFile
from descant.data.importers.srt import read_srt
from descant.data.importers.star import read_star
from descant.data.importers.table import TableLayout
from descant.data.importers.taskmaster import read_taskmaster
from descant.data.importers.transcribe import read_transcribe
from descant.data.importers.webvtt import read_webvtt
from descant.data.transcripts import build_transcript, read_jsonl
from descant.schema import Indicator, LabelledTranscript, Turn
from descant.schema.errors import InvalidConfig, WrongFormat


@dataclass(frozen=True)
class ReadOptions:
    """What only some formats ask for."""

    layout: TableLayout = TableLayout()
    """The columns of a table."""
    indicators: tuple[Indicator, ...] = ()
    """Where given, labels are checked, and columns of their names are labels."""


Reader = Callable[[SourceFile, ReadOptions, OnSkip], Iterable[LabelledTranscript]]


@dataclass(frozen=True)
class Format:
    """One format."""

    name: str
    about: str
    patterns: tuple[str, ...]
    """Of the files of a folder; ``.gz`` may follow."""
    read: Reader


def find_format(name: str) -> Format:
    """Return the format of that name.

    Raises:
        InvalidConfig: there is none; lists all.
    """
    if name not in FORMATS:
        raise InvalidConfig(
            f"There is no format {name!r}.",
            field="format",
            remedy=f"Formats: {', '.join(FORMATS)}.",
        )
    return FORMATS[name]


def _one_call(read_turns: Callable[[Path], list[Turn]]) -> Reader:
    def read(file: SourceFile, _: ReadOptions, on_skip: OnSkip) -> Iterable[LabelledTranscript]:
        turns = read_turns(file.path)
        if any(turn.text.strip() for turn in turns):
            yield LabelledTranscript(build_transcript(file.id, turns, str(file.path)))
        else:
            on_skip(file.id, NOTHING_SAID)

    return read


def _read_star(file: SourceFile, _: ReadOptions, on_skip: OnSkip) -> Iterable[LabelledTranscript]:
    folder, name = file.path.parent, file.path.name
    if name == "train.jsonl.gz":
        return read_star(folder, "train", on_skip)
    if name == "dev.jsonl.gz":
        return read_star(folder, "dev", on_skip)
    raise WrongFormat(f"{file.path}: STAR is in train.jsonl.gz and dev.jsonl.gz.", field="format")


_ALL = (
    Format(
        "csv",
        "a table of turns, or of whole texts",
        ("*.csv", "*.tsv"),
        lambda file, options, _: read_csv(file.path, options.layout, options.indicators),
    ),
    Format(
        "parquet",
        "a table of turns, or of whole texts, in Parquet",
        ("*.parquet",),
        lambda file, options, _: read_parquet(file.path, options.layout, options.indicators),
    ),
    Format(
        "openai-chat",
        "OpenAI chats, JSON lines or JSON",
        ("*.jsonl", "*.json"),
        lambda file, _, on_skip: read_openai_chat(file.path, file.id, on_skip),
    ),
    Format("webvtt", "WebVTT captions, one call a file", ("*.vtt",), _one_call(read_webvtt)),
    Format("srt", "SRT subtitles, one call a file", ("*.srt",), _one_call(read_srt)),
    Format("deepgram", "Deepgram JSON, one call a file", ("*.json",), _one_call(read_deepgram)),
    Format(
        "transcribe",
        "AWS Transcribe JSON, one call a file",
        ("*.json",),
        _one_call(read_transcribe),
    ),
    Format(
        "contact-lens",
        "Contact Lens or Call Analytics JSON, one contact a file",
        ("*.json",),
        _one_call(read_contact_lens),
    ),
    Format(
        "descant",
        "Descant's own JSON lines",
        ("*.jsonl",),
        lambda file, *_: read_jsonl(file.path),
    ),
    Format("star", "STAR with derived labels", ("train.jsonl", "dev.jsonl"), _read_star),
    Format(
        "multidogo",
        "MultiDoGO tables",
        ("*.tsv",),
        lambda file, _, on_skip: read_multidogo(file.path, on_skip),
    ),
    Format(
        "taskmaster",
        "Taskmaster dialogues",
        ("dialogs*.jsonl", "data*.json", "*-dialogs.json"),
        lambda file, _, on_skip: read_taskmaster(file.path, on_skip),
    ),
)
FORMATS = {each.name: each for each in _ALL}
