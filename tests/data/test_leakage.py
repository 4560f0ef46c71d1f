from __future__ import annotations

import pytest

from descant.data import check_leakage
from descant.schema import Indicator, LabelledTranscript, Transcript, Turn
from descant.schema.errors import LabelLeak
from tests.data.rows import call, yes_no

INTENT = Indicator(
    "call_intent", "What for?", ("buy", "ask a question"), ("buy",), "multiclass", "call_intent"
)
INDICATORS = [yes_no("greeting"), yes_no("refund_offered"), INTENT]


@pytest.mark.parametrize(
    ("text", "indicator"),
    [
        ("refund_offered", "refund_offered"),
        ("Notes: REFUND_OFFERED, see below", "refund_offered"),
        ("refund_offered: no", "refund_offered"),
        ("Refund offered = yes and so on", "refund_offered"),
        ("refund-offered:1", "refund_offered"),
        ("call intent: ask a question", "call_intent"),
        ("greeting: yes", "greeting"),
        ("Hello.\nGreeting = no\nBye.", "greeting"),
        ("{greeting: true, other: 1}", "greeting"),
        ("labels are greeting=yes; refund=no", None),
        ("labels: (greeting=yes; refund=no)", "greeting"),
        ('{"greeting": "a"}', "greeting"),
        ("{'greeting' : 1}", "greeting"),
        ('{"labels": {"Refund_Offered": null}}', "refund_offered"),
        ("greeting\uff1ayes", "greeting"),
    ],
)
def test_a_label_field_in_the_text_is_refused(text: str, indicator: str | None) -> None:
    rows = [call("clean"), call("7", "Hi.", text)]
    if indicator is None:
        check_leakage(rows, INDICATORS)
        return
    with pytest.raises(LabelLeak, match=f"'7', turn 2: .*'{indicator}'") as caught:
        check_leakage(rows, INDICATORS)
    assert caught.value.field == "turns[1]"


@pytest.mark.parametrize(
    "text",
    [
        "Yes. No. greeting",
        "A warm greeting to you, yes!",
        "My greeting: no idea why it failed.",
        "Greeting: how are you today?",
        "Was a refund offered? Yes, it was.",
        "They said a refund offered no comfort: none.",
        'The card said "greeting", yes.',
        "My call intent was to buy: yes.",
        "prerefund_offered_x",
    ],
)
def test_ordinary_talk_passes(text: str) -> None:
    check_leakage([call("1", text)], INDICATORS)


def test_every_leak_is_named() -> None:
    rows = [call("7", "greeting: yes"), call("8", "Hi.", "refund_offered")]
    with pytest.raises(LabelLeak, match=r"(?s)2 mistakes.*'7', turn 1.*'8', turn 2"):
        check_leakage(rows, INDICATORS)


@pytest.mark.parametrize("speaker", ["refund_offered", "Refund offered", " GREETING "])
def test_a_speaker_named_like_an_indicator_is_refused(speaker: str) -> None:
    row = LabelledTranscript(Transcript("7", (Turn("agent", "Hi."), Turn(speaker, "yes"))))
    with pytest.raises(LabelLeak, match="'7', turn 2: .*name of the speaker"):
        check_leakage([row], INDICATORS)


def test_labels_beside_the_text_are_no_leak() -> None:
    check_leakage([call("1", labels={"greeting": "yes"})], INDICATORS)
