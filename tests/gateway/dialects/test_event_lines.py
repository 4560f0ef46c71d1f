from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from descant.gateway.dialects import event_lines
from descant.gateway.dialects.event_lines import EventLines, NotAnEvent

LINES = st.sampled_from(
    [b"data: x", b"data:y", b"data", b"event: e", b": c", b"id: 1", b"retry: 5", b"data: "]
)
ENDS = st.sampled_from([b"\n", b"\r\n"])


@st.composite
def blocks(draw: st.DrawFn) -> bytes:
    lines = draw(st.lists(LINES.filter(lambda line: line != b"data"), min_size=1, max_size=3))
    end = draw(ENDS)
    return b"".join(line + end for line in lines) + end


def slow(block: bytes) -> bytes:
    """Return an event's data by the letter of the specification."""
    lines = block.replace(b"\r\n", b"\n").split(b"\n")
    found = [line[5:] for line in lines if line.startswith(b"data:")]
    return b"\n".join(each[1:] if each[:1] == b" " else each for each in found)


@given(st.lists(blocks(), max_size=5), st.lists(st.integers(0, 200), max_size=20))
def test_events_are_the_same_in_any_pieces(written: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(written)
    places = sorted({min(cut, len(stream)) for cut in cuts} | {0, len(stream)})
    lines = EventLines()
    found = [
        event
        for begin, end in zip(places, places[1:], strict=False)
        for event in lines.feed(stream[begin:end])
    ]
    assert b"".join(event.raw for event in found) == stream
    assert [event.data for event in found] == [slow(block) for block in written]
    assert lines.rest == b""


@pytest.mark.parametrize(
    "block", [b"<html>\n\n", b'{"a": 1}\n\n', b"data\n\n", b"HTTP/1.1 200\n\n"]
)
def test_what_is_no_event_is_refused(block: bytes) -> None:
    with pytest.raises(NotAnEvent):
        list(EventLines().feed(block))


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_an_event_without_an_end_is_not_held_for_ever(
    step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_lines, "MOST_EVENT_BYTES", 50)
    lines, stream = EventLines(), b"data: " + b"x" * 60 + b"\n\n"
    with pytest.raises(NotAnEvent):
        for begin in range(0, len(stream), step):
            list(lines.feed(stream[begin : begin + step]))
