"""Pieces of speech with times, as recognizers and captions give them, joined to turns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from descant.schema import Turn
from descant.schema.errors import InvalidData

UNNAMED = "speaker"
"""Who speaks where a file names nobody."""

# Recognizers round the ends of what one person says, and cut pieces a little into each other.
_OVERLAP_ALLOWED_S = 0.5
# Deepgram ends an utterance after this pause, unless told otherwise.
_PAUSE_S = 0.8


@dataclass(frozen=True)
class Segment:
    """Something one person said without a break."""

    speaker: str
    text: str
    start_s: float
    end_s: float
    origin: str
    """File and place in it, for errors."""


@dataclass(frozen=True)
class Word:
    """One word of a recognizer, or a mark that belongs to the word before it."""

    segment: Segment
    is_mark: bool = False


def join_segments(segments: Iterable[Segment]) -> list[Turn]:
    """Join what one speaker says in a row; segments stand in the order of their beginnings.

    Raises:
        InvalidData: a segment ends before it begins, or begins long before the one of the same
            speaker ahead of it has ended.
    """
    turns: list[tuple[str, list[str]]] = []
    end_of: dict[str, float] = {}
    for segment in segments:
        words = segment.text.split()
        if not words:
            continue
        _check_times(segment, end_of.get(segment.speaker, 0.0))
        end_of[segment.speaker] = segment.end_s
        if turns and turns[-1][0] == segment.speaker:
            turns[-1][1].extend(words)
        else:
            turns.append((segment.speaker, words))
    return [Turn(speaker, " ".join(words)) for speaker, words in turns]


def join_words(words: Sequence[Word]) -> list[Segment]:
    """Join words of one channel to segments, which end at a pause or where another one speaks."""
    segments: list[Segment] = []
    for word in words:
        last = segments[-1] if segments else None
        if last is not None and _goes_on(last, word):
            text = f"{last.text}{'' if word.is_mark else ' '}{word.segment.text}"
            end_s = max(last.end_s, word.segment.end_s)
            segments[-1] = Segment(last.speaker, text, last.start_s, end_s, last.origin)
        else:
            segments.append(word.segment)
    return segments


def in_time(segments: Iterable[Segment]) -> list[Segment]:
    """Return the segments of all channels in the order in which they begin."""
    return sorted(segments, key=lambda segment: segment.start_s)


def _goes_on(last: Segment, word: Word) -> bool:
    if word.is_mark:
        return True
    return word.segment.speaker == last.speaker and word.segment.start_s - last.end_s <= _PAUSE_S


def _check_times(segment: Segment, last_end_s: float) -> None:
    if segment.end_s < segment.start_s:
        raise InvalidData(
            f"{segment.origin}: ends at {segment.end_s:g} s, before it begins at "
            f"{segment.start_s:g} s.",
            field="end",
        )
    if segment.start_s < last_end_s - _OVERLAP_ALLOWED_S:
        raise InvalidData(
            f"{segment.origin}: begins at {segment.start_s:g} s, but {segment.speaker!r} was "
            f"speaking until {last_end_s:g} s.",
            field="start",
            remedy="Nobody says two things at once: name the speakers, or take out what is "
            "there twice.",
        )
