from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from descant.data.importers.segments import Segment, Word, in_time, join_segments, join_words
from descant.schema import Turn
from descant.schema.errors import InvalidData


def said(speaker: str, text: str, start_s: float, end_s: float | None = None) -> Segment:
    return Segment(speaker, text, start_s, start_s if end_s is None else end_s, "a.json, [0]")


_segments = st.lists(
    st.builds(said, st.sampled_from("AB"), st.text("ab \n", max_size=6), st.integers(0, 50))
)


@given(_segments)
def test_no_word_is_lost_and_no_speaker_follows_himself(segments: list[Segment]) -> None:
    turns = join_segments(in_time(segments))
    words = [word for turn in turns for word in turn.text.split()]
    assert sorted(words) == sorted(word for segment in segments for word in segment.text.split())
    assert all(one.speaker != next_.speaker for one, next_ in zip(turns, turns[1:], strict=False))


def test_words_are_joined_until_a_pause_or_another_speaker() -> None:
    words = [
        Word(said("A", "Hello", 0.0, 0.5)),
        Word(said("A", ",", 0.5), is_mark=True),
        Word(said("A", "you", 1.2, 1.3)),
        Word(said("A", "there", 2.2, 2.5)),
        Word(said("B", "Yes", 2.5, 2.6)),
        Word(said("B", ".", 2.6), is_mark=True),
    ]
    joined = [(segment.speaker, segment.text, segment.start_s) for segment in join_words(words)]
    assert joined == [("A", "Hello, you", 0.0), ("A", "there", 2.2), ("B", "Yes.", 2.5)]


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        (said("A", "x", 3.0, 2.0), "ends at 2 s, before it begins at 3 s"),
        (said("A", "x", 1.4, 3.0), "begins at 1.4 s, but 'A' was speaking until 2 s"),
    ],
)
def test_impossible_times_are_refused(second: Segment, reason: str) -> None:
    with pytest.raises(InvalidData, match=rf"a\.json, \[0\]: {reason}"):
        join_segments([said("A", "x", 0.0, 2.0), second])


def test_rounded_times_and_two_people_at_once_are_not() -> None:
    segments = [said("A", "x", 0.0, 2.0), said("A", "y", 1.6, 3.0), said("B", "z", 1.7, 2.0)]
    assert join_segments(segments) == [Turn("A", "x y"), Turn("B", "z")]
