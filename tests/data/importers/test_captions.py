"""WebVTT as https://www.w3.org/TR/webvtt1/ has it, SRT as players read it."""

from __future__ import annotations

import html
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from descant.data.importers.srt import read_srt
from descant.data.importers.webvtt import read_webvtt
from descant.schema import Turn
from descant.schema.errors import InvalidData, WrongFormat

HEAD = "WEBVTT\n\n"


def write(folder: Path, content: str | bytes, name: str = "a.vtt") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def vtt(folder: Path, content: str | bytes) -> list[Turn]:
    return read_webvtt(write(folder, content))


def test_header_notes_styles_identifiers_and_settings_are_no_speech(tmp_path: Path) -> None:
    content = (
        "\ufeffWEBVTT - a call\r\nKind: captions\r\n\r\nNOTE one line\r\n\r\n"
        "NOTE\r\ntwo\r\nlines\r\n\r\nSTYLE\r\n::cue(v) { color: red }\r\n\r\n"
        "REGION\r\nid:left\r\n\r\nintro\r\n"
        "00:01.000 --> 00:02.000 align:start position:0%\r\n<v Agent>Hello\r\nthere\r\n\r\n"
        "100:00:03.000 --> 100:00:04.000\r\n<v Agent>I'm Ann.\r\n"
    )
    assert vtt(tmp_path, content) == [Turn("Agent", "Hello there I'm Ann.")]


def test_voices_change_within_a_cue_and_other_tags_go(tmp_path: Path) -> None:
    content = HEAD + (
        "00:00.000 --> 00:04.000\n"
        "<v.first.loud Ann &amp; Co>My <i>card</i> is &lt;gone&gt;<00:00:01.000> now</v>"
        "<v Bob>Oh <c.red>no</c>&nbsp;<lang en>dear</lang>.</v>\n<v Ann &amp; Co>Yes.\n"
    )
    assert vtt(tmp_path, content) == [
        Turn("Ann & Co", "My card is <gone> now"),
        Turn("Bob", "Oh no dear."),
        Turn("Ann & Co", "Yes."),
    ]


def test_names_are_speakers_where_the_first_cue_has_one(tmp_path: Path) -> None:
    times = ["00:00.000 --> 00:01.000", "00:01.000 --> 00:02.000", "00:02.000 --> 00:03.000"]
    cues = ["Agent: Hi.\n- Caller 2: Hello,", "it is 10:30.", "Agent: See https://x.org"]
    content = HEAD + "\n\n".join(f"{time}\n{cue}" for time, cue in zip(times, cues, strict=True))
    assert vtt(tmp_path, content) == [
        Turn("Agent", "Hi."),
        Turn("Caller 2", "Hello, it is 10:30."),
        Turn("Agent", "See https://x.org"),
    ]


@pytest.mark.parametrize(
    ("cues", "expected"),
    [
        (
            ["Well, hello.", "Remember: call us."],
            [Turn("speaker", "Well, hello. Remember: call us.")],
        ),
        (["<v A>Note: hi", "Remember: it"], [Turn("A", "Note: hi Remember: it")]),
        (["Ringing", "<v A>Hi"], [Turn("speaker", "Ringing"), Turn("A", "Hi")]),
        ([" ", "&nbsp;"], []),
    ],
)
def test_elsewhere_a_colon_is_a_colon_and_nobody_is_speaker(
    tmp_path: Path, cues: Sequence[str], expected: list[Turn]
) -> None:
    blocks = [f"00:0{at}.000 --> 00:0{at}.900\n{cue}" for at, cue in enumerate(cues)]
    assert vtt(tmp_path, HEAD + "\n\n".join(blocks)) == expected


CUE = "00:00.000 --> 00:01.000\n<v A>Hi\n\n"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (HEAD + CUE + "and this?\n", "line 6: is neither a cue nor a NOTE"),
        (HEAD + CUE + "7\n", "line 6: is neither"),
        (HEAD + "00:00.000 -->\nHi", "line 3: '' is not a time"),
        (HEAD + "-00:01.000 --> 00:02.000\nHi", "line 3: '-00:01.000' is not a time"),
        (HEAD + "00:61.000 --> 00:02.000\nHi", "line 3: '00:61.000' is not a time"),
        (HEAD + "00:02.000 --> 00:01.000\nHi", "line 3: ends at 1 s, before it begins at 2 s"),
        (
            HEAD + CUE + "00:05.000 --> 00:06.000\nHi\n\n00:04.000 --> 00:05.000\nHo",
            "line 9: begins at 4 s, before the cue above it",
        ),
        (
            HEAD + "00:00.000 --> 00:05.000\n<v A>Hi\n\n00:02.000 --> 00:03.000\n<v A>Ho",
            "line 6: begins at 2 s, but 'A' was speaking until 5 s",
        ),
        (HEAD + CUE.rstrip() + "\n00:02.000 --> 00:03.000\nHo", "line 5: has times in the middle"),
        ((HEAD + CUE).encode() + b"NOTE Gr\xfcezi", "line 6, character 8: is not UTF-8"),
        ((HEAD + CUE).encode("utf-16"), "is UTF-16"),
    ],
)
def test_a_bad_cue_is_refused_by_file_and_line(
    tmp_path: Path, content: str | bytes, reason: str
) -> None:
    with pytest.raises(InvalidData, match=rf"a\.vtt(, |: ){reason}"):
        vtt(tmp_path, content)


def test_two_speakers_may_talk_at_once(tmp_path: Path) -> None:
    content = HEAD + "00:00.000 --> 00:05.000\n<v A>Hi\n\n00:02.000 --> 00:03.000\n<v B>Ho"
    assert vtt(tmp_path, content) == [Turn("A", "Hi"), Turn("B", "Ho")]


@pytest.mark.parametrize("content", ["", "WEBVTTX\n", "1\n00:00:00,000 --> 00:00:01,000\nHi"])
def test_what_is_not_webvtt_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(WrongFormat, match=r"a\.vtt, line 1"):
        vtt(tmp_path, content)


def test_srt_with_and_without_numbers_coordinates_and_tags(tmp_path: Path) -> None:
    content = (
        "\ufeff1\r\n00:00:00,000 --> 00:00:02,000  X1:1 X2:2 Y1:3 Y2:4\r\n"
        '{\\an8}Agent: <font color="red">Good</font> <i>morning</i>\r\n\r\n'
        "\r\n00:00:02,5 --> 00:00:04.000\r\nCaller: 5 < 6\r\n\r\n"
        "3\r\n00:00:04,000 --> 00:00:05,000\r\n12\r\n"
    )
    assert read_srt(write(tmp_path, content)) == [
        Turn("Agent", "Good morning"),
        Turn("Caller", "5 < 6 12"),
    ]


@pytest.mark.parametrize(
    ("content", "error", "reason"),
    [
        ("Hello\n", WrongFormat, "line 1: a subtitle begins with its number"),
        ("1\n00:00:00,000 --> 00:00:01,000\nHi\n\nHo\n", InvalidData, "line 5: a subtitle begins"),
        ("1\n00:00:00,000 --> soon\nHi\n", InvalidData, "line 2: 'soon' is not a time"),
        ("1\n00:00:02,000 --> 00:00:01,000\nHi\n", InvalidData, "line 2: ends at 1 s"),
        (b"1\n00:00:00,000 --> 00:00:01,000\n\xe9\n", InvalidData, "line 3, character 1: is not"),
    ],
)
def test_a_bad_subtitle_is_refused_by_file_and_line(
    tmp_path: Path, content: str | bytes, error: type[InvalidData], reason: str
) -> None:
    with pytest.raises(error, match=rf"a\.srt, {reason}"):
        read_srt(write(tmp_path, content, "a.srt"))


def as_vtt(turns: Sequence[Turn]) -> str:
    cues = [
        f"{at:02}:00.000 --> {at:02}:59.999\n<v {html.escape(turn.speaker)}>{html.escape(turn.text)}"
        for at, turn in enumerate(turns)
    ]
    return HEAD + "\n\n".join(cues)


def as_srt(turns: Sequence[Turn]) -> str:
    cues = [
        f"{at + 1}\n{at:02}:00:00,000 --> {at:02}:59:59,999\n{turn.speaker}: {turn.text}"
        for at, turn in enumerate(turns)
    ]
    return "\n\n".join(cues)


_WORDS = st.lists(st.text(st.characters(categories=["L", "P", "S"]), min_size=1), min_size=1)
_spoken = _WORDS.map(" ".join).filter(lambda text: "-->" not in text)
_SPEAKERS = ("Agent", "Caller 2", "Ms. O'Neil")


def _alternating(texts: list[str]) -> list[Turn]:
    return [Turn(_SPEAKERS[at % 3], text) for at, text in enumerate(texts)]


@settings(deadline=None, max_examples=50)
@given(texts=st.lists(_spoken, min_size=1, max_size=5))
@pytest.mark.parametrize(("written", "read"), [(as_vtt, read_webvtt), (as_srt, read_srt)])
def test_what_is_written_is_what_is_read(
    written: Callable[[Sequence[Turn]], str],
    read: Callable[[Path], list[Turn]],
    texts: list[str],
) -> None:
    turns = _alternating(texts)
    with tempfile.TemporaryDirectory() as folder:
        assert read(write(Path(folder), written(turns))) == turns
