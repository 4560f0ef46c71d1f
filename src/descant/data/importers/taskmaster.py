"""Reads Taskmaster, dialogues of customers with an ordering system, 1 to 4.

Source: https://github.com/google-research-datasets/Taskmaster: JSON lists of dialogues, or one a line.
Only what customer and agent said becomes text; the scenario, the instructions to the writer and the
annotations give the labels away and are never read. In Taskmaster-4 every call of the ordering system
is a label such as ``called_finish_order``: yes where the dialogue has the call, else no, for all calls
that occur in the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from descant.data.importers.records import read_records
from descant.data.importers.source_file import NOTHING_SAID, OnSkip
from descant.data.json_table import JsonTable
from descant.data.transcripts import build_transcript
from descant.schema import LabelledTranscript, Turn
from descant.schema.errors import WrongFormat

_SPEAKERS = {"user": "customer", "assistant": "agent"}


@dataclass(frozen=True)
class _Dialogue:
    table: JsonTable
    turns: list[Turn]
    calls: frozenset[str]


def read_taskmaster(path: Path, on_skip: OnSkip = lambda *_: None) -> Iterator[LabelledTranscript]:
    """Yield the dialogues of a file.

    Raises:
        WrongFormat: the file has no dialogues in it.
        InvalidData: a field is missing or of the wrong type; names its path.
    """
    dialogues = [_dialogue(record.value, record.origin) for record in read_records(path)]
    known = sorted({call for dialogue in dialogues for call in dialogue.calls})
    for dialogue in dialogues:
        dialogue_id = dialogue.table.text("conversation_id")
        if not dialogue.turns:
            on_skip(dialogue_id, NOTHING_SAID)
            continue
        transcript = build_transcript(dialogue_id, dialogue.turns, dialogue.table.origin)
        labels = {f"called_{call}": "yes" if call in dialogue.calls else "no" for call in known}
        yield LabelledTranscript(transcript, labels)


def _dialogue(value: object, origin: str) -> _Dialogue:
    if not isinstance(value, dict) or "utterances" not in value:
        raise WrongFormat(f"{origin}: has no utterances.", field="format")
    table = JsonTable(value, origin)
    utterances = table.tables("utterances")
    turns = [_turn(utterance) for utterance in utterances]
    return _Dialogue(
        table,
        [turn for turn in turns if turn.text.strip()],
        frozenset(call for utterance in utterances for call in _calls(utterance)),
    )


def _turn(utterance: JsonTable) -> Turn:
    speaker = utterance.text("speaker").lower()
    if speaker not in _SPEAKERS:
        raise utterance.error("speaker", f"{speaker!r} is neither user nor assistant")
    return Turn(_SPEAKERS[speaker], utterance.text("text"))


def _calls(utterance: JsonTable) -> Iterator[str]:
    if not utterance.has("annotations"):
        return
    for annotation in utterance.tables("annotations"):
        if annotation.text("name") == "api_call":
            yield annotation.text("value")
