"""Reads what Contact Lens and Transcribe Call Analytics write about a call or a chat, one a file.

Format: https://docs.aws.amazon.com/connect/latest/adminguide/contact-lens-example-output-files.html.
Speakers are the roles of the participants: ``agent``, ``customer``, ``system``. Pieces of speech are
joined to turns, messages of a chat stay as they are; events, attachments and menus are no text.
Sentiments, categories and summaries are never read.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from descant.data.importers.json_document import read_document
from descant.data.importers.segments import Segment, in_time, join_segments
from descant.data.json_table import JsonTable
from descant.schema import Turn
from descant.schema.errors import WrongFormat

_MS_PER_S = 1000


def read_contact_lens(path: Path) -> list[Turn]:
    """Return the turns of a file; none where nothing was said.

    Raises:
        WrongFormat: the file is not the analysis of a contact.
        InvalidData: a field is missing or of the wrong type, or times are wrong; names its path.
    """
    document = read_document(path)
    if not document.has("Transcript"):
        raise WrongFormat(f"{path}: has no Transcript.", field="format")
    roles = _roles(document)
    entries = document.tables("Transcript")
    if document.has("Channel") and document.text("Channel") == "CHAT":
        return [
            Turn(_speaker(entry, roles), entry.text("Content"))
            for entry in entries
            if _is_text(entry)
        ]
    return join_segments(in_time(_segment(entry, roles) for entry in entries))


def _roles(document: JsonTable) -> Mapping[str, str]:
    participants = document.tables("Participants") if document.has("Participants") else []
    return {
        participant.text("ParticipantId"): participant.text("ParticipantRole")
        for participant in participants
        if participant.has("ParticipantId")
    }


def _is_text(entry: JsonTable) -> bool:
    kind = entry.text("ContentType") if entry.has("ContentType") else "text/plain"
    return entry.has("Content") and kind.startswith("text/")


def _segment(entry: JsonTable, roles: Mapping[str, str]) -> Segment:
    begin_s = entry.seconds("BeginOffsetMillis") / _MS_PER_S
    end_s = entry.seconds("EndOffsetMillis") / _MS_PER_S
    return Segment(_speaker(entry, roles), entry.text("Content"), begin_s, end_s, entry.place)


def _speaker(entry: JsonTable, roles: Mapping[str, str]) -> str:
    if entry.has("ParticipantRole"):
        return _name(entry.text("ParticipantRole"))
    participant = entry.text("ParticipantId")
    if participant not in roles:
        raise entry.error("ParticipantId", f"{participant!r} is not among the Participants")
    return _name(roles[participant])


def _name(role: str) -> str:
    return role.lower().replace("_", " ")
