"""What WebVTT and SRT share: cues with times, and how it is told who speaks in them.

Voices come first. Where a file has none, but its first cue begins with ``Name:``, names at the
beginning of lines are speakers; in any other file a colon is only a colon. A cue without a name goes
on with the speaker before it, and where nobody was named yet, it is said by ``speaker``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from descant.data.importers.segments import UNNAMED, Segment, join_segments
from descant.data.importers.speaker_line import split_speaker
from descant.schema import Turn
from descant.schema.errors import InvalidData

ARROW = "-->"
_TIME = re.compile(r"(?:(\d{1,4}):)?([0-5]?\d):([0-5]\d)[.,](\d{1,3})")


@dataclass(frozen=True)
class Cue:
    """One caption."""

    start_s: float
    end_s: float
    voices: tuple[tuple[str | None, str], ...]
    """Who says what, in order; None where the format names nobody."""
    origin: str


def blocks(lines: Sequence[str]) -> Iterator[list[tuple[int, str]]]:
    """Yield the runs of lines between blank lines, each line with its number from 1."""
    block: list[tuple[int, str]] = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            block.append((number, line))
        elif block:
            yield block
            block = []
    if block:
        yield block


def parse_times(line: str, origin: str) -> tuple[float, float]:
    """Return beginning and end, in seconds, of ``00:01.000 --> 00:02.500 align:start``.

    Raises:
        InvalidData: there are not two times; a negative one is none.
    """
    begin, _, rest = line.partition(ARROW)
    # What follows the second time says where a caption stands on the screen.
    return _seconds(begin.strip(), origin), _seconds((rest.split() or [""])[0], origin)


def check_text(lines: Sequence[tuple[int, str]], path: object) -> None:
    """Refuse a cue's text with times in it: a blank line is missing there.

    Raises:
        InvalidData: names the line.
    """
    for number, line in lines:
        if ARROW in line:
            raise InvalidData(
                f"{path}, line {number}: has times in the middle of a cue.",
                remedy="Put a blank line ahead of every cue.",
            )


def cue_turns(cues: Sequence[Cue]) -> list[Turn]:
    """Return what was said in the cues; empty where no cue has text.

    Raises:
        InvalidData: a cue begins before the one above it, ends before it begins, or overlaps
            another one of the same speaker.
    """
    _check_order(cues)
    return join_segments(_segments(cues))


def _segments(cues: Sequence[Cue]) -> Iterator[Segment]:
    names_begin_lines = _names_begin_lines(cues)
    speaker = UNNAMED
    for cue in cues:
        start_s = cue.start_s
        for voice, text in _named(cue.voices) if names_begin_lines else cue.voices:
            speaker = voice or speaker
            if not text.strip():
                continue
            yield Segment(speaker, text, start_s, cue.end_s, cue.origin)
            # Within a cue nothing says when the next speaker begins.
            start_s = cue.end_s


def _names_begin_lines(cues: Sequence[Cue]) -> bool:
    spoken = [(voice, text) for cue in cues for voice, text in cue.voices if text.strip()]
    if not spoken or any(voice is not None for voice, _ in spoken):
        return False
    first_line = spoken[0][1].strip().splitlines()[0]
    return split_speaker(first_line)[0] is not None


def _named(voices: Sequence[tuple[str | None, str]]) -> Iterator[tuple[str | None, str]]:
    for _, text in voices:
        yield from map(split_speaker, text.splitlines())


def _check_order(cues: Sequence[Cue]) -> None:
    for last, cue in zip(cues, cues[1:], strict=False):
        if cue.start_s < last.start_s:
            raise InvalidData(
                f"{cue.origin}: begins at {cue.start_s:g} s, before the cue above it "
                f"({last.start_s:g} s).",
                field="start",
                remedy="Put the cues in the order of their times.",
            )


def _seconds(text: str, origin: str) -> float:
    match = _TIME.fullmatch(text)
    if match is None:
        raise InvalidData(
            f"{origin}: {text!r} is not a time.",
            field="time",
            remedy="Write times as 00:01:02.500, none negative.",
        )
    hours, minutes, seconds, fraction = match.groups()
    whole_s = int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds)
    return whole_s + float(f"0.{fraction}")
