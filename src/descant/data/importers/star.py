"""Reads STAR, a set of service dialogues between a customer and an agent who follows a flow chart.

Only what customer and agent said to each other becomes text; searches, suggestions, instructions and
questionnaires give the labels away and are never read. The labels come from the files beside the
dialogues. The questions below say in words what each label was derived from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from descant.data.importers.source_file import NOTHING_SAID, OnSkip
from descant.data.json_lines import read_objects
from descant.data.transcripts import build_transcript
from descant.schema import Indicator, LabelledTranscript, Turn, pick_indicators
from descant.schema.errors import InvalidData

HARD_INDICATORS = (
    "customer_changed_mind",
    "agent_repeated_same_question",
    "scenario_happy_path",
    "user_calm_and_helpful",
    "customer_annoyed",
    "bank_asked_fraud_details",
    "user_reported_task_success",
    "bank_full_verification_before_disclosure",
)
"""Those that single words do not give away."""

_LABELS: Mapping[object, str | None] = {1: "yes", 0: "no", None: None}
_SPEAKERS = {
    ("User", "utter"): "customer",
    ("Wizard", "pick_suggestion"): "agent",
    ("Wizard", "utter"): "agent",
}


def read_star(
    folder: Path,
    part: Literal["train", "dev"],
    on_skip: OnSkip = lambda *_: None,
) -> list[LabelledTranscript]:
    """Return the complete dialogues of one part, with ids such as ``star-17``.

    Dialogues that were broken off or hold no text are left out; `on_skip` gets the id and the
    reason of each.

    Raises:
        InvalidData: a file is missing or damaged, or a dialogue has no labels; names file and line.
    """
    labels = _read_labels(folder / f"labels_{part}.jsonl.gz")
    path = folder / f"{part}.jsonl.gz"
    rows = []
    for number, dialogue in read_objects(path):
        origin = f"{path}, line {number}"
        dialogue_id = _field(dialogue, "DialogueID", int, origin)
        turns = _read_turns(dialogue, origin)
        reason = _reason_to_skip(dialogue, turns)
        if reason is None:
            if dialogue_id not in labels:
                raise InvalidData(f"{origin}: dialogue {dialogue_id} has no labels.")
            transcript = build_transcript(f"star-{dialogue_id}", turns, origin)
            rows.append(LabelledTranscript(transcript, labels[dialogue_id]))
        else:
            on_skip(f"star-{dialogue_id}", reason)
    return rows


def star_indicators(names: Iterable[str] | None = None) -> tuple[Indicator, ...]:
    """Return the named indicators in the order asked for, or all that can be read in the text.

    Raises:
        UnknownIndicator: there is no question for a name.
    """
    indicators = tuple(_yes_no(name, question) for name, question in _QUESTIONS.items())
    return indicators if names is None else pick_indicators(indicators, list(names))


def _yes_no(name: str, question: str) -> Indicator:
    return Indicator(
        name=name,
        question=question,
        labels=("no", "yes"),
        positive=("yes",),
        kind="binary",
        adapter=name,
    )


def _read_labels(path: Path) -> dict[int, dict[str, str | None]]:
    labels: dict[int, dict[str, str | None]] = {}
    for number, table in read_objects(path):
        origin = f"{path}, line {number}"
        given = _field(table, "labels", dict, origin)
        for name, value in given.items():
            if value is not None and (type(value) is not int or value not in _LABELS):
                raise InvalidData(
                    f"{origin}: label of {name!r} is {value!r}, not 1, 0 or null.",
                    field=f"labels.{name}",
                )
        dialogue_id = _field(table, "DialogueID", int, origin)
        labels[dialogue_id] = {name: _LABELS[value] for name, value in given.items()}
    return labels


def _read_turns(dialogue: Mapping[str, Any], origin: str) -> list[Turn]:
    turns = []
    for event in _field(dialogue, "Events", list, origin):
        if not isinstance(event, dict):
            raise InvalidData(f"{origin}: an event is not an object.", field="Events")
        speaker = _SPEAKERS.get((str(event.get("Agent")), str(event.get("Action"))))
        if speaker is not None:
            text = _field(event, "Text", str, origin)
            if text.strip():
                turns.append(Turn(speaker, text))
    return turns


def _reason_to_skip(dialogue: Mapping[str, Any], turns: list[Turn]) -> str | None:
    if dialogue.get("CompletionLevel") != "Complete":
        return "not complete"
    return None if turns else NOTHING_SAID


def _field(table: Mapping[str, Any], key: str, kind: type, origin: str) -> Any:
    value = table.get(key)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise InvalidData(f"{origin}: {key} is missing or of the wrong type.", field=key)
    return value


_QUESTIONS = {
    "agent_greeted": "Did the agent greet the customer with a hello?",
    "agent_asked_name": "Did the agent ask for the customer's name?",
    "agent_offered_more_help": "Did the agent ask whether there was anything else to help with?",
    "agent_closed_politely": "Did the agent say goodbye before the conversation ended?",
    "agent_said_out_of_scope": "Did the agent say that a request was outside what it can do?",
    "agent_said_nothing_found": "Did the agent say that a search found nothing that fits?",
    "agent_asked_confirmation": "Did the agent ask the customer to confirm before going ahead?",
    "outcome_success_message": (
        "Did the agent report that a booking, report or change went through successfully?"
    ),
    "outcome_failure_message": (
        "Did the agent report that something failed, was unavailable or could not be verified?"
    ),
    "agent_repeated_same_question": "Did the agent ask the customer the same question more than once?",
    "agent_used_free_text": "Did the agent leave the script and answer in its own words?",
    "bank_asked_account_number": "Did the bank agent ask for the account number?",
    "bank_asked_pin": "Did the bank agent ask for the PIN?",
    "bank_asked_dob": "Did the bank agent ask for the date of birth?",
    "bank_asked_maiden_name": "Did the bank agent ask for the mother's maiden name?",
    "bank_asked_pet_name": "Did the bank agent ask for the name of the childhood pet?",
    "bank_asked_fraud_details": (
        "Did the bank agent ask the customer to describe the fraud that is being reported?"
    ),
    "bank_refused_authentication": "Did the bank agent say that the customer could not be verified?",
    "bank_disclosed_balance": "Did the bank agent tell the customer the balance of the account?",
    "bank_submitted_fraud_report": "Did the bank agent say that a fraud report was submitted?",
    "bank_full_verification_before_disclosure": (
        "Before disclosing a balance or filing a report, did the bank agent ask for a full set of "
        "credentials: name, account number and PIN, or name, date of birth, mother's maiden name "
        "and pet's name?"
    ),
    "confirmed_before_booking": (
        "Did the agent ask the customer to confirm before the first booking was made?"
    ),
    "user_calm_and_helpful": "Did the customer stay calm, friendly and cooperative all the way?",
    "user_reported_task_success": (
        "Would the customer say that everything they came for was done by the end?"
    ),
    "customer_changed_mind": "Did the customer change their mind about what they wanted?",
    "customer_annoyed": "Was the customer annoyed or angry with the agent?",
    "customer_confused": "Was the customer confused about what was going on?",
    "agent_unsure": "Was the agent unsure about what to do?",
    "scenario_happy_path": (
        "Did the conversation go straight to its goal, with no obstacle, refusal or detour?"
    ),
    "scenario_multi_task": "Did the customer ask for more than one kind of task?",
    "issue_is_bank_fraud_report": "Did the customer want to report fraud on a bank account?",
    "issue_is_bank_balance": "Did the customer want to know the balance of a bank account?",
    "issue_is_hotel_book": "Did the customer want to book a hotel room?",
    "issue_is_hotel_service_request": "Did the customer want a service during a stay at a hotel?",
    "issue_is_restaurant_book": "Did the customer want to find a restaurant or book a table?",
    "issue_is_ride_book": "Did the customer want to book a ride?",
    "issue_is_ride_change": "Did the customer want to change a ride that was booked?",
    "issue_is_ride_status": "Did the customer want to know where a booked ride is?",
    "issue_is_plane_book": "Did the customer want to find or book a flight?",
    "issue_is_doctor_schedule": "Did the customer want an appointment with a doctor?",
    "issue_is_apartment_schedule": "Did the customer want to arrange a viewing of an apartment?",
    "issue_is_party_plan": "Did the customer want to plan or book a party?",
    "issue_is_meeting_schedule": "Did the customer want to schedule a meeting?",
    "issue_is_trip_directions": "Did the customer want directions from one place to another?",
    "issue_is_weather": "Did the customer want to know the weather?",
    "issue_is_trivia": "Did the customer want to play a trivia game?",
}
"""The timing indicators and ``call_abandoned`` are missing: no text shows them."""
