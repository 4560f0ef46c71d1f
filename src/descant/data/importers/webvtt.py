"""Reads WebVTT captions (W3C, https://www.w3.org/TR/webvtt1/): one file is one conversation.

Speakers are voices (``<v Agent>``) or names at the beginning of lines. Identifiers, settings, styles,
regions, notes and all other tags are left out, character references are read. A block that is none
of these is refused, where a player would skip it: it would be something that was said.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from descant.data.importers.captions import (
    ARROW,
    Cue,
    blocks,
    check_text,
    cue_turns,
    parse_times,
)
from descant.data.input_file import read_lines
from descant.schema import Turn
from descant.schema.errors import InvalidData, WrongFormat

_HEADER = re.compile(r"WEBVTT(?:[ \t].*)?")
_NO_SPEECH = re.compile(r"(?:NOTE|STYLE|REGION)(?:[ \t:].*)?")
_VOICE = re.compile(r"<v(?:\.[^\s.<>]+)*\s+([^<>]*)>|</v>")
_TAG = re.compile(r"<[^<>]*>")


def read_webvtt(path: Path) -> list[Turn]:
    """Return the turns of a file; none where nothing is said in it.

    Raises:
        WrongFormat: the file does not begin with ``WEBVTT``.
        InvalidData: a block is no cue, or times are wrong; names file and line.
    """
    lines = read_lines(path)
    if not _HEADER.fullmatch(lines[0]):
        raise WrongFormat(f"{path}, line 1: a WebVTT file begins with WEBVTT.", field="format")
    return cue_turns([cue for block in _bodies(lines) for cue in _cues(block, path)])


def _bodies(lines: Sequence[str]) -> Iterator[list[tuple[int, str]]]:
    # The header may go on for some lines, such as "Kind: captions", up to the first cue.
    header, *others = blocks(lines)
    if any(ARROW in line for _, line in header):
        yield header[1:]
    yield from others


def _cues(block: list[tuple[int, str]], path: Path) -> Iterator[Cue]:
    if _NO_SPEECH.fullmatch(block[0][1]):
        return
    # A line ahead of the times is the cue's identifier.
    at = 0 if ARROW in block[0][1] else 1
    if at >= len(block) or ARROW not in block[at][1]:
        raise InvalidData(
            f"{path}, line {block[0][0]}: is neither a cue nor a NOTE, STYLE or REGION.",
            remedy="A cue begins with its times; within its text there is no blank line.",
        )
    number, times = block[at]
    origin = f"{path}, line {number}"
    start_s, end_s = parse_times(times, origin)
    check_text(block[at + 1 :], path)
    payload = "\n".join(line for _, line in block[at + 1 :])
    yield Cue(start_s, end_s, tuple(_voices(payload)), origin)


def _voices(payload: str) -> Iterator[tuple[str | None, str]]:
    speaker: str | None = None
    at = 0
    for tag in _VOICE.finditer(payload):
        yield speaker, _plain(payload[at : tag.start()])
        speaker = _plain(tag[1]).strip() or None if tag[1] is not None else None
        at = tag.end()
    yield speaker, _plain(payload[at:])


def _plain(text: str) -> str:
    return html.unescape(_TAG.sub("", text))
