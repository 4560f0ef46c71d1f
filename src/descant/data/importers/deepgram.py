"""Reads what Deepgram answers about a recording (https://developers.deepgram.com/docs/utterances).

Utterances are taken where the request asked for them, else the words of each channel. With several
channels a speaker is ``channel 0``, with diarization ``speaker 0``, with both ``channel 0 speaker 0``.
Where several alternatives are given, the first one is what was said.
"""

from __future__ import annotations

from pathlib import Path

from descant.data.importers.json_document import read_document
from descant.data.importers.segments import (
    UNNAMED,
    Segment,
    Word,
    in_time,
    join_segments,
    join_words,
)
from descant.data.json_table import JsonTable
from descant.schema import Turn
from descant.schema.errors import WrongFormat


def read_deepgram(path: Path) -> list[Turn]:
    """Return the turns of a file; none where nothing was said.

    Raises:
        WrongFormat: the file is not an answer of Deepgram.
        InvalidData: a field is missing or of the wrong type, or times are wrong; names its path.
    """
    document = read_document(path)
    results = document.table("results") if document.has("results") else document
    if not results.has("channels"):
        raise WrongFormat(f"{path}: has no results.channels.", field="format")
    channels = results.tables("channels")
    if results.has("utterances"):
        segments = [_utterance(table, len(channels) > 1) for table in results.tables("utterances")]
    else:
        segments = [
            segment
            for at, channel in enumerate(channels)
            for segment in _channel_segments(channel, at if len(channels) > 1 else None)
        ]
    return join_segments(in_time(segments))


def _utterance(table: JsonTable, has_channels: bool) -> Segment:
    channel = table.whole("channel") if has_channels else None
    return _segment(table, table.text("transcript"), channel)


def _channel_segments(channel: JsonTable, number: int | None) -> list[Segment]:
    alternatives = channel.tables("alternatives")
    words = alternatives[0].tables("words") if alternatives else []
    return join_words([Word(_segment(word, _spelled(word), number)) for word in words])


def _spelled(word: JsonTable) -> str:
    return word.text("punctuated_word" if word.has("punctuated_word") else "word")


def _segment(table: JsonTable, text: str, channel: int | None) -> Segment:
    names = [] if channel is None else [f"channel {channel}"]
    if table.has("speaker"):
        names.append(f"speaker {table.whole('speaker')}")
    speaker = " ".join(names) or UNNAMED
    return Segment(speaker, text, table.seconds("start"), table.seconds("end"), table.place)
