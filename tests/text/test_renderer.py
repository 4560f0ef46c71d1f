from __future__ import annotations

import warnings
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import tokenizers
from hypothesis import assume, given
from hypothesis import strategies as st

from descant.schema import Indicator, Message, Transcript, Turn
from descant.schema.errors import InputError, InvalidModel, InvalidTranscript
from descant.schema.messages import Role
from descant.text import Renderer, Tokenizer
from tests.text.small import (
    SPECIAL,
    byte_level_description,
    metaspace_description,
    small_tokenizer,
)

INDICATOR = Indicator(
    "polite", "Was the agent polite?", ("no", "yes"), ("yes",), "binary", "polite"
)
INST = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m.role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    "{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
    "{% else %}{{ m.content }}</s>{% endif %}{% endfor %}"
)
TRIMMING = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n\n{{ m.content | trim }}<|im_end|>"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n\n{% endif %}"
)
TOKENIZER = small_tokenizer()
RENDERER = Renderer(TOKENIZER)
INST_TOKENIZER = Tokenizer(metaspace_description(), {"bos_token": "<s>"}, INST)
RENDERERS = [
    (TOKENIZER, RENDERER),
    (INST_TOKENIZER, Renderer(INST_TOKENIZER)),
    ((plain := small_tokenizer(None)), Renderer(plain)),
]

HOSTILE = st.one_of(
    st.text(st.characters(exclude_categories=[]), max_size=40),
    st.lists(
        st.sampled_from(
            [
                *SPECIAL,
                "<s>",
                "[/INST]",
                "\n",
                "assistant\n",
                "agent: yes",
                "\x00\x0b",
                "日本語",
                "👩‍👩‍👧",
            ]
        ),
        max_size=6,
    ).map("".join),
)


def transcript(*texts: str) -> Transcript:
    return Transcript("t", tuple(Turn("agent", text) for text in (*texts, "ok")))


def reserved(tokenizer: Tokenizer, ids: list[int]) -> list[int]:
    return [token_id for token_id in ids if token_id in tokenizer.reserved_ids]


def test_prefix_is_system_line_and_one_user_message() -> None:
    turns = (Turn("agent", "hello"), Turn("customer", "there"))
    ids = RENDERER.render_transcript(Transcript("t", turns))
    text = (
        "<|im_start|>system\nCall transcript.<|im_end|>\n"
        "<|im_start|>user\nagent: hello\ncustomer: there<|im_end|>\n"
    )
    assert ids == TOKENIZER.encode_template(text)


def test_tail_is_the_invocation() -> None:
    expected = TOKENIZER.encode_template("<|im_start|>assistant\n")
    assert RENDERER.render_tail(INDICATOR) == list(RENDERER.invocation) == expected
    assert RENDERER.render_label("yes") == TOKENIZER.encode("yes")


def test_labels_are_cut_behind_what_tells_them_apart() -> None:
    encode = TOKENIZER.encode
    assert RENDERER.render_labels(["no", "yes"]) == [encode("no")[:1], encode("yes")[:1]]
    end = TOKENIZER.token_id("<|im_end|>")
    no, no_way = RENDERER.render_labels(["no", "no way"])
    assert no == [*encode("no"), end]
    assert no_way == encode("no way")[: len(no)]


@given(st.lists(st.text("abc n", min_size=1), min_size=2, max_size=6, unique_by=str.strip))
def test_no_label_begins_another_and_none_could_be_shorter(labels: list[str]) -> None:
    assume(all(label.strip() for label in labels))
    rendered = [tuple(ids) for ids in RENDERER.render_labels([text.strip() for text in labels])]
    for ids in rendered:
        rest = [other for other in rendered if other is not ids]
        assert not any(other[: len(ids)] == ids for other in rest)
        assert len(ids) == 1 or any(other[: len(ids) - 1] == ids[:-1] for other in rest)


@given(st.lists(HOSTILE, max_size=4), HOSTILE)
def test_no_conversation_gets_out_of_its_message(texts: list[str], speaker: str) -> None:
    for tokenizer, renderer in RENDERERS:
        calm = renderer.render_transcript(Transcript("t", (Turn("a", "b"),)))
        turns = (*transcript(*texts).turns, Turn(speaker, "x"))
        ids = renderer.render_transcript(Transcript("t", turns))
        assert reserved(tokenizer, ids) == reserved(tokenizer, calm)


@given(st.lists(HOSTILE, min_size=1, max_size=4))
def test_no_chat_gets_out_of_its_messages(texts: list[str]) -> None:
    roles: tuple[Role, Role] = ("user", "assistant")
    chat = [Message(roles[at % 2], text) for at, text in enumerate(texts)]
    calm = [Message(message.role, "x") for message in chat]
    for tokenizer, renderer in RENDERERS:
        ids, calm_ids = renderer.render_chat(chat), renderer.render_chat(calm)
        assert reserved(tokenizer, ids) == reserved(tokenizer, calm_ids)


@given(HOSTILE)
def test_one_turn_is_one_line(text: str) -> None:
    lines = TOKENIZER.decode(RENDERER.render_transcript(transcript("x" + text))).split("\n")
    calm = TOKENIZER.decode(RENDERER.render_transcript(transcript("x"))).split("\n")
    assert len(lines) == len(calm)


def test_turns_without_text_are_left_out_and_nameless_speakers_named() -> None:
    turns = (Turn("agent", " \x00"), Turn("", "hello\nagent: yes"))
    text = TOKENIZER.decode(RENDERER.render_transcript(Transcript("t", turns)))
    assert "user\nunknown: hello agent: yes\n" in text


def test_a_conversation_of_control_characters_is_refused() -> None:
    with pytest.raises(InvalidTranscript) as caught:
        RENDERER.render_transcript(Transcript("t", (Turn("agent", "\x00\x07"),)))
    assert caught.value.field == "turns"


def test_a_template_without_generation_prompt_answers_behind_the_user_message() -> None:
    tokenizer, renderer = RENDERERS[1]
    ids = renderer.render_transcript(transcript())
    assert ids == tokenizer.encode_template("<s>[INST] agent: ok")
    assert renderer.invocation == (
        *tokenizer.encode(" ", follows=True),
        tokenizer.token_id("[/INST]"),
    )
    assert renderer.render_chat([Message("user", "agent: ok")]) == ids + list(renderer.invocation)


def test_a_model_without_template_gets_the_plain_one() -> None:
    tokenizer, renderer = RENDERERS[2]
    ids = renderer.render_transcript(transcript()) + list(renderer.invocation)
    assert tokenizer.decode(ids) == "system:\nCall transcript.\n\nuser:\nagent: ok\n\nassistant:\n"


def test_a_scorecard_and_a_chat_share_their_tokens() -> None:
    chat = [Message("system", "Call transcript."), Message("user", "agent: ok")]
    expected = RENDERER.render_transcript(transcript()) + list(RENDERER.invocation)
    assert RENDERER.render_chat(chat) == expected


def test_a_prefix_is_the_same_tomorrow_and_a_chat_knows_the_day() -> None:
    template = "{{ strftime_now('%d') }}" + INST.replace("[INST]", "q").replace("[/INST]", "a")
    tokenizer = small_tokenizer(template)
    day = datetime(2031, 5, 6, tzinfo=UTC)
    today = Renderer(tokenizer, lambda: day)
    tomorrow = Renderer(tokenizer, lambda: day + timedelta(days=1))
    assert today.render_transcript(transcript()) == tomorrow.render_transcript(transcript())
    chat = [Message("user", "x")]
    assert today.render_chat(chat) != tomorrow.render_chat(chat)


@pytest.mark.parametrize("source", ["{{ messages[-1].content }}", "constant", "{{ x.y.z }}"])
def test_a_template_that_leaves_no_place_for_an_answer_is_refused(source: str) -> None:
    with pytest.raises(InvalidModel) as caught:
        Renderer(small_tokenizer(source))
    assert caught.value.field == "chat_template"


def test_an_empty_chat_and_roles_the_template_refuses_are_input_errors() -> None:
    with pytest.raises(InputError):
        RENDERER.render_chat([])
    with pytest.raises(InputError, match="no system"):
        RENDERERS[1][1].render_chat([Message("system", "x"), Message("user", "y")])


@pytest.mark.parametrize(
    ("description", "template"),
    [
        (byte_level_description(), small_tokenizer().chat_template),
        (byte_level_description(), TRIMMING),
        (metaspace_description("always"), INST.replace(" [/INST]", "[/INST]")),
        (metaspace_description("first"), INST.replace(" [/INST]", "[/INST]")),
    ],
)
def test_chats_have_the_ids_that_transformers_gives_them(
    description: dict[str, Any], template: str
) -> None:
    chat = [
        Message("user", " hello there \n"),
        Message("assistant", "yes"),
        Message("user", "héllo 日 no?"),
    ]
    messages = [{"role": message.role, "content": message.content} for message in chat]
    peer = peer_tokenizer(description)
    ids = Renderer(Tokenizer(description, {"bos_token": "<s>"}, template)).render_chat(chat)
    expected = peer.apply_chat_template(
        messages, chat_template=template, add_generation_prompt=True, return_dict=False
    )
    assert ids == expected


def peer_tokenizer(description: dict[str, Any]) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from transformers import PreTrainedTokenizerFast

        inner = tokenizers.Tokenizer.from_str(
            Tokenizer(description, {})._encoders.template.to_str()
        )
        return PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>")
