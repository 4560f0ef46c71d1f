"""Output in the form of docs.aws.amazon.com/connect: contact-lens-example-output-files(-chat)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from descant.data.importers.contact_lens import read_contact_lens
from descant.schema import Turn
from descant.schema.errors import InvalidData, WrongFormat

SECRET = "SECRET"


def read(folder: Path, *entries: Any, **more: Any) -> list[Turn]:
    path = folder / "a.json"
    participants = [
        {"ParticipantId": "p1", "ParticipantRole": "CUSTOMER"},
        {"ParticipantId": "p2", "ParticipantRole": "AGENT"},
    ]
    document = {
        "Channel": "VOICE",
        "Categories": {"MatchedCategories": [SECRET]},
        "Participants": participants,
        "Transcript": list(entries),
    }
    path.write_text(json.dumps({**document, **more}))
    return read_contact_lens(path)


def entry(participant: str, text: str, begin_ms: int, **more: Any) -> dict[str, Any]:
    times = {"BeginOffsetMillis": begin_ms, "EndOffsetMillis": begin_ms + 900}
    return {"ParticipantId": participant, "Content": text, "Sentiment": SECRET, **times, **more}


def test_roles_speak_and_pieces_are_joined(tmp_path: Path) -> None:
    turns = read(
        tmp_path, entry("p2", "Hello.", 0), entry("p2", "Ann here.", 1000), entry("p1", "Hi.", 2000)
    )
    assert turns == [Turn("agent", "Hello. Ann here."), Turn("customer", "Hi.")]


def test_call_analytics_names_the_role_in_each_piece(tmp_path: Path) -> None:
    piece = {"ParticipantRole": "AGENT", "Content": "Hello.", "Id": "1"}
    times = {"BeginOffsetMillis": 0, "EndOffsetMillis": 10}
    assert read(tmp_path, {**piece, **times}, Participants=None) == [Turn("agent", "Hello.")]


def test_messages_of_a_chat_stay_apart_and_events_go(tmp_path: Path) -> None:
    def message(role: str, text: str | None, kind: str = "text/plain") -> dict[str, Any]:
        return {"ParticipantRole": role, "Content": text, "ContentType": kind, "Type": "MESSAGE"}

    turns = read(
        tmp_path,
        message("CUSTOM_BOT", "Welcome."),
        message("CUSTOM_BOT", '{"templateType": "ListPicker"}', "application/vnd.amazonaws"),
        {"ParticipantRole": "AGENT", "Type": "EVENT", "ContentType": "application/x.joined"},
        message("CUSTOMER", "Hi", "text/markdown"),
        message("CUSTOMER", "there"),
        Channel="CHAT",
    )
    assert turns == [
        Turn("custom bot", "Welcome."),
        Turn("customer", "Hi"),
        Turn("customer", "there"),
    ]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (entry("p9", "x", 0), r"Transcript\[0\].ParticipantId: 'p9' is not among the Participants"),
        (entry("p1", "x", -5), r"BeginOffsetMillis: is -5; a time cannot be negative"),
        (entry("p1", "x", 5, EndOffsetMillis=1), r"Transcript\[0\]: ends at 0.001 s, before"),
        ({"ParticipantId": "p1", "BeginOffsetMillis": 0}, r"EndOffsetMillis: must be a time"),
        (entry("p1", "x", 0, Content=None), r"Transcript\[0\].Content: is missing"),
    ],
)
def test_a_bad_piece_is_refused_by_its_path(tmp_path: Path, bad: Any, reason: str) -> None:
    with pytest.raises(InvalidData, match=rf"a\.json, .*{reason}"):
        read(tmp_path, bad)


def test_another_document_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WrongFormat, match="has no Transcript"):
        read(tmp_path, Transcript=None)
