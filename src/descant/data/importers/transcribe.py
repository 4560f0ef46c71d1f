"""Reads what Amazon Transcribe writes about a recording, one job a file.

Formats: https://docs.aws.amazon.com/transcribe/latest/dg/diarization-output-batch.html and
channel-id-output-batch.html beside it. ``audio_segments`` are taken where they are (jobs since 2024),
else the words of ``channel_labels``, else the words with the speakers of ``speaker_labels``. Speakers
keep their labels: ``spk_0``, ``ch_0``, or ``ch_0 spk_0``.
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
from descant.schema.errors import InvalidData, WrongFormat


def read_transcribe(path: Path) -> list[Turn]:
    """Return the turns of a file; none where nothing was said.

    Raises:
        WrongFormat: the file is not the output of a transcription job.
        InvalidData: the job is not complete, a field is missing or of the wrong type, or times are
            wrong; names its path.
    """
    document = read_document(path)
    results = document.table("results") if document.has("results") else document
    if not results.has("transcripts"):
        _check_status(document)
        raise WrongFormat(f"{path}: has no results.transcripts.", field="format")
    return join_segments(in_time(_segments(results)))


def _check_status(document: JsonTable) -> None:
    if document.has("jobName") and document.has("status"):
        raise InvalidData(
            f"{document.origin}, status: the job is {document.text('status')}.",
            field="status",
            remedy="Fetch its output when it is COMPLETED.",
        )


def _segments(results: JsonTable) -> list[Segment]:
    if results.has("audio_segments"):
        return [_audio_segment(table) for table in results.tables("audio_segments")]
    if results.has("channel_labels"):
        channels = results.table("channel_labels").tables("channels")
        return [segment for channel in channels for segment in _channel_segments(channel)]
    return join_words(_words(results.tables("items"), _speakers(results), UNNAMED))


def _audio_segment(table: JsonTable) -> Segment:
    times = table.seconds("start_time"), table.seconds("end_time")
    return Segment(_speaker(table, UNNAMED), table.text("transcript"), *times, table.place)


def _channel_segments(channel: JsonTable) -> list[Segment]:
    return join_words(_words(channel.tables("items"), {}, channel.text("channel_label")))


def _speakers(results: JsonTable) -> dict[float, str]:
    """Return who speaks, by the time at which a word begins: older jobs say it only there."""
    if not results.has("speaker_labels"):
        return {}
    return {
        item.seconds("start_time"): item.text("speaker_label")
        for segment in results.table("speaker_labels").tables("segments")
        for item in segment.tables("items")
    }


def _words(items: list[JsonTable], speakers: dict[float, str], otherwise: str) -> list[Word]:
    words: list[Word] = []
    for item in items:
        if item.has("start_time"):
            times = item.seconds("start_time"), item.seconds("end_time")
            speaker = _speaker(item, speakers.get(times[0], otherwise))
            words.append(Word(Segment(speaker, _content(item), *times, item.place)))
        elif words:
            # Punctuation has no times of its own.
            last = words[-1].segment
            mark = Segment(last.speaker, _content(item), last.end_s, last.end_s, item.place)
            words.append(Word(mark, is_mark=True))
    return words


def _content(item: JsonTable) -> str:
    alternatives = item.tables("alternatives")
    if not alternatives:
        raise item.error("alternatives", "is empty")
    return alternatives[0].text("content")


def _speaker(table: JsonTable, otherwise: str) -> str:
    labels = [table.text(key) for key in ("channel_label", "speaker_label") if table.has(key)]
    return " ".join(labels) or otherwise
