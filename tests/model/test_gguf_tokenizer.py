from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from descant.model.gguf_file import GgufFile
from descant.model.gguf_tokenizer import tokenizer_files
from descant.schema.errors import InvalidModel
from tests.model.gguf_model import TOKENS, write_gguf
from tests.model.reference import hf_model


def _tokenizer(folder: Path, **metadata: object) -> Tokenizer:
    path = write_gguf(hf_model("smollm2"), folder / "model.gguf", **metadata)
    return Tokenizer.from_str(json.dumps(tokenizer_files(GgufFile(path))["tokenizer.json"]))


def test_words_merge_and_control_tokens_stay_whole(tmp_path: Path) -> None:
    tokenizer = _tokenizer(tmp_path)
    encoded = tokenizer.encode("hello hell<|im|>")
    assert encoded.tokens == ["hello", "Ġ", "hell", "<|im|>"]
    assert encoded.ids == [TOKENS.index(token) for token in encoded.tokens]
    assert tokenizer.decode(encoded.ids) == "hello hell"
    assert tokenizer.decode(tokenizer.encode("Größe 🙂\n").ids) == "Größe 🙂\n"


@pytest.mark.parametrize(("pre", "tokens"), [("smollm", ["1", "2"]), ("gpt-2", ["12"])])
def test_the_pre_tokenizer_decides_about_digits(
    pre: str, tokens: list[str], tmp_path: Path
) -> None:
    assert _tokenizer(tmp_path, pre=pre).encode("12").tokens == tokens


@pytest.mark.parametrize(
    ("pre", "words"),
    [
        ("llama-bpe", ["I", "'ll", "Ġpay", "Ġ", "123", "45", "!\n", "Ġ", "Ġnow"]),
        ("qwen2", ["I", "'ll", "Ġpay", "Ġ", "1", "2", "3", "4", "5", "!\n", "Ġ", "Ġnow"]),
    ],
)
def test_text_is_cut_as_the_named_pre_tokenizer_does(
    pre: str, words: list[str], tmp_path: Path
) -> None:
    pieces = _tokenizer(tmp_path, pre=pre).pre_tokenizer.pre_tokenize_str("I'll pay 12345!\n  now")
    assert [piece for piece, _ in pieces] == [word.replace("\n", "Ċ") for word in words]


def test_a_model_that_wants_a_first_token_gets_it(tmp_path: Path) -> None:
    tokenizer = _tokenizer(tmp_path, add_bos_token=True)
    assert tokenizer.encode("he").tokens == ["<|im|>", "he"]
    assert tokenizer.encode("he", add_special_tokens=False).tokens == ["he"]


SENTENCEPIECE = {
    "<unk>": (0.0, 2),
    "<s>": (0.0, 3),
    **{f"<0x{byte:02X}>": (0.0, 6) for byte in range(256)},
    **dict.fromkeys("▁helow", (-100.0, 1)),
    "he": (-1.0, 1),
    "el": (-2.0, 1),
    "lo": (-3.0, 1),
    "▁he": (-4.0, 1),
    "llo": (-5.0, 1),
}


def test_sentencepiece_joins_the_best_score_first(tmp_path: Path) -> None:
    tokenizer = _tokenizer(
        tmp_path,
        model="llama",
        pre=None,
        merges=None,
        tokens=list(SENTENCEPIECE),
        scores=[score for score, _ in SENTENCEPIECE.values()],
        token_type=[kind for _, kind in SENTENCEPIECE.values()],
    )
    # "he" before "el", "lo" before "llo"; nothing joins "▁he" and "llo".
    assert tokenizer.encode("hello").tokens == ["<s>", "▁he", "llo"]
    assert tokenizer.encode("hel ow", add_special_tokens=False).tokens == [
        "▁he",
        "l",
        "▁",
        "o",
        "w",
    ]
    assert tokenizer.encode("ö", add_special_tokens=False).tokens == ["▁", "<0xC3>", "<0xB6>"]
    for text in ("hello  wö\n", "🙂 x"):
        assert tokenizer.decode(tokenizer.encode(text).ids) == text


@pytest.mark.parametrize(
    ("key", "value"),
    [("model", "t5"), ("pre", "tekken"), ("tokens", None), ("merges", None), ("token_type", None)],
)
def test_an_unsupported_tokenizer_is_refused_by_key(
    key: str, value: str | None, tmp_path: Path
) -> None:
    with pytest.raises(InvalidModel) as caught:
        _tokenizer(tmp_path, **{key: value})
    assert caught.value.field == f"tokenizer.ggml.{key}"
