"""Answers in the form of https://developers.deepgram.com/docs/utterances and .../multichannel."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from descant.data.importers.deepgram import read_deepgram
from descant.schema import Turn
from descant.schema.errors import InvalidData, WrongFormat


def read(folder: Path, **results: Any) -> list[Turn]:
    path = folder / "a.json"
    path.write_text(json.dumps({"metadata": {"channels": 1}, "results": results}))
    return read_deepgram(path)


def word(text: str, start: float, **more: Any) -> dict[str, Any]:
    return {"word": text, "start": start, "end": start + 0.2, "confidence": 0.9, **more}


def channel(*words: dict[str, Any]) -> dict[str, Any]:
    text = " ".join(str(each["word"]) for each in words)
    return {"alternatives": [{"transcript": text, "confidence": 0.9, "words": list(words)}]}


def utterance(text: str, start: float, **more: Any) -> dict[str, Any]:
    return {"start": start, "end": start + 1.0, "transcript": text, "channel": 0, **more}


def test_utterances_of_diarized_speakers_are_joined(tmp_path: Path) -> None:
    utterances = [
        utterance("Hello, Meadow Bank.", 0.0, speaker=0),
        utterance("How can I help?", 1.0, speaker=0),
        utterance("My card is gone.", 2.5, speaker=1),
    ]
    assert read(tmp_path, channels=[channel()], utterances=utterances) == [
        Turn("speaker 0", "Hello, Meadow Bank. How can I help?"),
        Turn("speaker 1", "My card is gone."),
    ]


def test_utterances_of_channels_are_put_in_time(tmp_path: Path) -> None:
    utterances = [
        utterance("Hello.", 0.0),
        utterance("Sure.", 4.0),
        utterance("My card is gone.", 2.0, channel=1, speaker=0),
    ]
    assert read(tmp_path, channels=[channel(), channel()], utterances=utterances) == [
        Turn("channel 0", "Hello."),
        Turn("channel 1 speaker 0", "My card is gone."),
        Turn("channel 0", "Sure."),
    ]


def test_words_do_where_there_are_no_utterances(tmp_path: Path) -> None:
    first = channel(word("hello", 0.0, punctuated_word="Hello,"), word("ann", 0.3), word("ok", 5.0))
    second = channel(word("hi", 2.0))
    assert read(tmp_path, channels=[first, second]) == [
        Turn("channel 0", "Hello, ann"),
        Turn("channel 1", "hi"),
        Turn("channel 0", "ok"),
    ]
    diarized = channel(word("hello", 0.0, speaker=0), word("hi", 0.3, speaker=1))
    assert read(tmp_path, channels=[diarized]) == [
        Turn("speaker 0", "hello"),
        Turn("speaker 1", "hi"),
    ]
    assert read(tmp_path, channels=[channel(word("hi", 0.0))]) == [Turn("speaker", "hi")]
    assert read(tmp_path, channels=[channel(), {"alternatives": []}]) == []


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (
            utterance("x", -1.0),
            r"results.utterances\[0\].start: is -1.0; a time cannot be negative",
        ),
        (utterance("x", 2.0, end=1.0), r"results.utterances\[0\]: ends at 1 s, before"),
        (utterance("x", 2.0, end=None), r"utterances\[0\].end: must be a time, not None"),
        (utterance("x", 2.0, end="soon"), r"utterances\[0\].end: must be a time, not 'soon'"),
        (utterance("x", 2.0, end=True), r"utterances\[0\].end: must be a time, not True"),
        (utterance("x", 2.0, transcript=7), r"utterances\[0\].transcript: must be a text"),
        (utterance("x", 2.0, speaker="me"), r"utterances\[0\].speaker: must be a whole number"),
        ("x", r"results.utterances\[0\]: must be an object"),
    ],
)
def test_a_bad_utterance_is_refused_by_its_path(tmp_path: Path, bad: Any, reason: str) -> None:
    with pytest.raises(InvalidData, match=rf"a\.json, .*{reason}"):
        read(tmp_path, channels=[channel()], utterances=[bad])


def test_overlapping_utterances_of_one_speaker_are_refused(tmp_path: Path) -> None:
    twice = [utterance("Hello.", 0.0, end=4.0, speaker=0), utterance("Hello.", 1.0, speaker=0)]
    with pytest.raises(InvalidData, match=r"utterances\[1\]: begins at 1 s, but 'speaker 0'"):
        read(tmp_path, channels=[channel()], utterances=twice)


@pytest.mark.parametrize("content", ["[]", "{}", '{"results": {"transcripts": []}}'])
def test_another_document_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(WrongFormat, match=r"a\.json: "):
        read_deepgram(path)


def test_a_document_that_was_cut_off_is_refused_by_line(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"results": {\n"channels": [{"alternatives": [')
    with pytest.raises(InvalidData, match=r"a\.json: not JSON: .*line 2.*was it cut off"):
        read_deepgram(path)
