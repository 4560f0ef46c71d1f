"""Output in the forms of docs.aws.amazon.com/transcribe: diarization, channels, audio segments."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from descant.data.importers.transcribe import read_transcribe
from descant.schema import Turn
from descant.schema.errors import InvalidData, WrongFormat


def read(folder: Path, **results: Any) -> list[Turn]:
    path = folder / "a.json"
    document = {"jobName": "j", "status": "COMPLETED", "results": {"transcripts": [], **results}}
    path.write_text(json.dumps(document))
    return read_transcribe(path)


def word(text: str, start: float, **labels: str) -> dict[str, Any]:
    times = {"start_time": f"{start:.2f}", "end_time": f"{start + 0.2:.2f}"}
    alternatives = [{"confidence": "1.0", "content": text}]
    return {**times, "alternatives": alternatives, "type": "pronunciation", **labels}


def mark(text: str) -> dict[str, Any]:
    return {"alternatives": [{"confidence": "0.0", "content": text}], "type": "punctuation"}


ITEMS = [word("Hello", 0.5), mark(","), word("you", 0.8), mark("."), word("Hi", 1.2), mark("!")]


def test_old_jobs_say_who_speaks_by_the_time_of_each_word(tmp_path: Path) -> None:
    speakers = [("0.50", "spk_0"), ("0.80", "spk_0"), ("1.20", "spk_1")]
    segments = [
        {"items": [{"start_time": time, "speaker_label": label} for time, label in speakers]}
    ]
    assert read(tmp_path, items=ITEMS, speaker_labels={"segments": segments}) == [
        Turn("spk_0", "Hello, you."),
        Turn("spk_1", "Hi!"),
    ]


def test_newer_jobs_say_it_in_each_word(tmp_path: Path) -> None:
    items = [word("Hello", 0.5, speaker_label="spk_0"), word("Hi", 0.8, speaker_label="spk_1")]
    assert read(tmp_path, items=items, speaker_labels={"segments": []}) == [
        Turn("spk_0", "Hello"),
        Turn("spk_1", "Hi"),
    ]


def test_channels_are_put_in_time(tmp_path: Path) -> None:
    channels = [
        {"channel_label": "ch_0", "items": [word("Hello", 0.5), mark("."), word("Sure", 5.0)]},
        {"channel_label": "ch_1", "items": [word("Hi", 2.0, channel_label="ch_1"), mark("!")]},
    ]
    assert read(tmp_path, items=ITEMS, channel_labels={"channels": channels}) == [
        Turn("ch_0", "Hello."),
        Turn("ch_1", "Hi!"),
        Turn("ch_0", "Sure"),
    ]


def test_audio_segments_come_first(tmp_path: Path) -> None:
    segments = [
        {"id": 0, "transcript": "Good day.", "start_time": "0.0", "end_time": "1.0"},
        {"id": 1, "transcript": "Ann here.", "start_time": "1.0", "end_time": "2.0"},
        {"id": 2, "transcript": "Hi.", "start_time": "0.5", "end_time": "0.9"},
    ]
    labels = [{"speaker_label": "spk_0"}, {"speaker_label": "spk_0"}, {"channel_label": "ch_1"}]
    merged = [{**segment, **label} for segment, label in zip(segments, labels, strict=True)]
    assert read(tmp_path, items=ITEMS, audio_segments=merged) == [
        Turn("spk_0", "Good day."),
        Turn("ch_1", "Hi."),
        Turn("spk_0", "Ann here."),
    ]


def test_without_labels_nobody_is_named(tmp_path: Path) -> None:
    assert read(tmp_path, items=ITEMS) == [Turn("speaker", "Hello, you. Hi!")]
    assert read(tmp_path, items=[]) == []


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (word("x", -1.0), r"results.items\[0\].start_time: is -1.00; a time cannot be negative"),
        ({**word("x", 1.0), "end_time": "0.5"}, r"results.items\[0\]: ends at 0.5 s, before"),
        (
            {**word("x", 1.0), "end_time": "nan"},
            r"results.items\[0\].end_time: must be a time, not 'nan'",
        ),
        ({**word("x", 1.0), "alternatives": []}, r"results.items\[0\].alternatives: is empty"),
    ],
)
def test_a_bad_word_is_refused_by_its_path(tmp_path: Path, item: Any, reason: str) -> None:
    with pytest.raises(InvalidData, match=rf"a\.json, {reason}"):
        read(tmp_path, items=[item])


def test_a_job_under_way_and_another_document_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"jobName": "j", "status": "IN_PROGRESS"}')
    with pytest.raises(InvalidData, match="status: the job is IN_PROGRESS"):
        read_transcribe(path)
    path.write_text('{"results": {"channels": []}}')
    with pytest.raises(WrongFormat, match="has no results.transcripts"):
        read_transcribe(path)
