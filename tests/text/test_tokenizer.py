from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from descant.schema.errors import InvalidModel
from descant.text import Tokenizer
from tests.text.small import (
    SPECIAL,
    byte_level_description,
    metaspace_description,
    small_tokenizer,
    write_folder,
)

TOKENIZER = small_tokenizer()
METASPACE = Tokenizer(metaspace_description(), {"bos_token": "<s>"})
ANY_TEXT = st.one_of(
    st.text(st.characters(exclude_categories=[])),
    st.lists(st.sampled_from([*SPECIAL, "<s>", "[INST]", "<|im_", "end|>", "é", "😀", "\x00"])).map(
        "".join
    ),
)


@given(ANY_TEXT)
def test_plain_text_never_becomes_a_reserved_token(text: str) -> None:
    for tokenizer in (TOKENIZER, METASPACE):
        assert tokenizer.reserved_ids.isdisjoint(tokenizer.encode(text))
        assert tokenizer.reserved_ids.isdisjoint(tokenizer.encode(text, follows=True))


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_plain_text_survives_the_round_trip(text: str) -> None:
    assert TOKENIZER.decode(TOKENIZER.encode(text)) == text


def test_template_text_yields_reserved_tokens() -> None:
    ids = TOKENIZER.encode_template("<|im_start|>hello")
    assert ids == [TOKENIZER.token_id("<|im_start|>"), *TOKENIZER.encode("hello")]
    assert TOKENIZER.decode(ids) == "hello"


def test_half_of_a_surrogate_pair_is_replaced() -> None:
    assert TOKENIZER.decode(TOKENIZER.encode("a\ud83d")) == "a\ufffd"


def test_added_tokens_that_mark_structure_are_reserved_even_if_not_special() -> None:
    description = byte_level_description()
    texts = ["<think>", "   ", "voicemail"]
    first = max(description["model"]["vocab"].values()) + 1
    for at, text in enumerate(texts):
        token = {**description["added_tokens"][0], "id": first + at, "content": text}
        description["added_tokens"].append({**token, "special": False})
    tokenizer = Tokenizer(description, {})
    assert first not in tokenizer.encode("<think>")
    assert first in tokenizer.encode_template("<think>")
    assert tokenizer.encode("   ") == [first + 1]
    assert tokenizer.encode("voicemail") == [first + 2]


def test_a_reserved_token_that_the_vocabulary_finds_by_itself_is_cut_up() -> None:
    description = byte_level_description(("<|endoftext|>", "ab"))
    description["model"]["ignore_merges"] = True
    tokenizer = Tokenizer(description, {})
    ids = tokenizer.encode("ab")
    assert ids == [tokenizer.token_id("a"), tokenizer.token_id("b")]
    assert tokenizer.encode("xab", follows=True)[-2:] != [tokenizer.token_id("ab")]


def test_a_reserved_token_of_one_letter_is_refused_when_it_cannot_be_avoided() -> None:
    description = byte_level_description(("<|endoftext|>", "a"))
    with pytest.raises(InvalidModel, match="'a'"):
        Tokenizer(description, {}).encode("cat")


def test_only_text_at_the_beginning_gets_a_space_in_front() -> None:
    assert METASPACE.decode(METASPACE.encode("hello")) == "hello"
    assert METASPACE.encode("hello") != METASPACE.encode("hello", follows=True)
    start = METASPACE.token_id("[INST]")
    assert METASPACE.encode_template("[INST]hello") == [
        start,
        *METASPACE.encode("hello", follows=True),
    ]


@given(st.lists(st.sampled_from(["[INST]", "</s>", "hello", " ", "é", "there "])).map("".join))
def test_template_text_is_encoded_as_the_library_does(text: str) -> None:
    for scheme in ("first", "always", "never"):
        tokenizer = _METASPACES[scheme]
        expected = tokenizer._encoders.template.encode(text, add_special_tokens=False).ids
        assert tokenizer.encode_template(text) == expected


_METASPACES = {
    scheme: Tokenizer(metaspace_description(scheme), {}) for scheme in ("first", "always", "never")
}


def test_truncation_and_padding_in_the_file_are_ignored() -> None:
    description = byte_level_description()
    description["truncation"] = {
        "direction": "Right",
        "max_length": 2,
        "strategy": "LongestFirst",
        "stride": 0,
    }
    assert len(Tokenizer(description, {}).encode("hello hello hello hello")) > 2


def test_loads_names_template_and_end_tokens(tmp_path: Path) -> None:
    write_folder(tmp_path, bos_token={"content": "<|im_start|>"}, chat_template="{{ 1 }}")
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [0, 2]}')
    tokenizer = Tokenizer.load(tmp_path)
    assert tokenizer.eos_ids == {0, 2}
    assert tokenizer.named_tokens == {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}
    assert tokenizer.chat_template == "{{ 1 }}"
    assert tokenizer.vocab_size == len(byte_level_description()["model"]["vocab"])


def test_end_tokens_may_stand_in_config_json(tmp_path: Path) -> None:
    write_folder(tmp_path)
    (tmp_path / "config.json").write_text('{"eos_token_id": 0}')
    assert Tokenizer.load(tmp_path).eos_ids == {0, 2}


def test_a_template_file_wins_over_the_config(tmp_path: Path) -> None:
    (write_folder(tmp_path) / "chat_template.jinja").write_text("{{ 2 }}")
    assert Tokenizer.load(tmp_path).chat_template == "{{ 2 }}"


def test_the_default_of_several_templates_is_used(tmp_path: Path) -> None:
    named = [{"name": "rag", "template": "r"}, {"name": "default", "template": "d"}]
    assert Tokenizer.load(write_folder(tmp_path, chat_template=named)).chat_template == "d"


@pytest.mark.parametrize(
    ("name", "content", "field"),
    [
        ("tokenizer.json", None, "tokenizer.json"),
        ("tokenizer.json", "{", "tokenizer.json"),
        ("tokenizer.json", "[]", "tokenizer.json"),
        ("tokenizer.json", '{"model": {"type": "?"}}', "tokenizer.json"),
        ("tokenizer_config.json", "\x00", "tokenizer_config.json"),
        ("tokenizer_config.json", json.dumps({"chat_template": 3}), "chat_template"),
    ],
)
def test_unusable_files_are_named(
    tmp_path: Path, name: str, content: str | None, field: str
) -> None:
    path = write_folder(tmp_path) / name
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(InvalidModel) as caught:
        Tokenizer.load(tmp_path)
    assert caught.value.field == field
