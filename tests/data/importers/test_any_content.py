"""Whatever a file holds, an import gives conversations or a typed error; nothing else."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from descant.data import FORMATS, open_import, write_jsonl
from descant.schema.errors import DescantError

_TIMES = {"start": 0.0, "end": 1.0}
_AWS_TIMES = {"start_time": "0.0", "end_time": "1.0"}
_AWS_WORD = {**_AWS_TIMES, "alternatives": [{"content": "Hi"}], "speaker_label": "spk_0"}
_SAMPLES: dict[str, Any] = {
    "deepgram": {
        "results": {
            "channels": [
                {"alternatives": [{"words": [{"word": "Hi", "speaker": 0, **_TIMES}]}]},
                {"alternatives": [{"words": [{"word": "Ho", **_TIMES}]}]},
            ],
            "utterances": [{"transcript": "Hi", "channel": 1, "speaker": 0, **_TIMES}],
        }
    },
    "transcribe": {
        "results": {
            "transcripts": [],
            "items": [_AWS_WORD],
            "speaker_labels": {"segments": [{"items": [_AWS_WORD]}]},
            "channel_labels": {"channels": [{"channel_label": "ch_0", "items": [_AWS_WORD]}]},
            "audio_segments": [{"transcript": "Hi", "channel_label": "ch_0", **_AWS_TIMES}],
        }
    },
    "contact-lens": {
        "Channel": "VOICE",
        "Participants": [{"ParticipantId": "p", "ParticipantRole": "AGENT"}],
        "Transcript": [
            {"ParticipantId": "p", "Content": "Hi", "BeginOffsetMillis": 0, "EndOffsetMillis": 9}
        ],
    },
    "openai-chat": [
        {"id": "a", "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]},
        {"messages": [{"role": "assistant", "content": None, "refusal": "No"}]},
    ],
    "taskmaster": [
        {
            "conversation_id": "d",
            "utterances": [
                {
                    "speaker": "user",
                    "text": "Hi",
                    "annotations": [{"name": "api_call", "value": "add"}],
                }
            ],
        }
    ],
}
_LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 2),
    st.sampled_from([10**400, -1.5, float("nan"), "1.5", "nan", "", "x", "\ud800", "CHAT", "tool"]),
    st.sampled_from([[], {}, [7], ["x"], [{}], {"x": 1}, [[]]]),
)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every object or list with each of its keys or indices."""
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from places(value[key])


@st.composite
def damaged(draw: st.DrawFn, name: str) -> Any:
    """Return a sample with one or two of its values replaced or taken out."""
    document = json.loads(json.dumps(_SAMPLES[name]))
    for _ in range(draw(st.integers(1, 2))):
        found = list(places(document))
        if found:
            parent, key = draw(st.sampled_from(found))
            if draw(st.booleans()):
                # A copy, since a second blow may fall on what is put in.
                parent[key] = json.loads(json.dumps(draw(_LEAVES)))
            else:
                del parent[key]
    return document


_LINES = st.lists(
    st.sampled_from(
        ["WEBVTT", "", "NOTE", "1", "00:01.000 --> 00:02.000", "00:00:01,0 --> 00:00:02,0 x"]
        + ["<v A>Hi</v><v>&amp;", "Agent: Hi", "id,text,speaker", '1,"Agent: Hi",A', "é"]
        + ["conversationId\tturnNumber\tutterance", "a\t1\thi", "a\tx\t", "\x00\x85\u2028"]
    ),
    max_size=8,
)


def import_or_refuse(content: bytes, name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path, output = Path(folder) / "train.jsonl.txt", Path(folder) / "out.jsonl"
        path.write_bytes(content)
        try:
            write_jsonl(output, open_import(path, name).rows())
        except DescantError as error:
            assert "train.jsonl.txt" in error.message
            assert not output.exists()
        else:
            assert output.read_bytes()


@pytest.mark.parametrize("name", _SAMPLES)
def test_the_samples_are_right(name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.json"
        path.write_text(json.dumps(_SAMPLES[name]))
        assert list(open_import(path).rows())


@pytest.mark.parametrize("name", _SAMPLES)
@settings(deadline=None, max_examples=100)
@given(data=st.data())
def test_damaged_json(name: str, data: st.DataObject) -> None:
    import_or_refuse(json.dumps(data.draw(damaged(name))).encode(), name)


@pytest.mark.parametrize("name", ["webvtt", "srt", "csv", "multidogo"])
@settings(deadline=None, max_examples=60)
@given(lines=_LINES, end=st.sampled_from(["\n", "\r\n", "\r"]))
def test_any_lines(name: str, lines: list[str], end: str) -> None:
    import_or_refuse(end.join(lines).encode(), name)


@pytest.mark.parametrize("name", FORMATS)
@settings(deadline=None, max_examples=15)
@given(content=st.binary(max_size=60))
def test_any_bytes(name: str, content: bytes) -> None:
    import_or_refuse(content, name)
