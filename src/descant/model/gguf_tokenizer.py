"""Builds a Hugging Face tokenizer from the metadata of a GGUF file.

In: an open `GgufFile`. Out: the contents of ``tokenizer.json``, ``tokenizer_config.json`` and
``generation_config.json``. Two kinds of vocabulary are supported: byte-level BPE (Llama 3, Qwen,
SmolLM2), with the ways of cutting text into words of these models, and SentencePiece (Llama 2,
Mistral), whose scores are turned into merges.
"""

from __future__ import annotations

from typing import Any

from descant.model.gguf_file import GgufFile
from descant.schema.errors import InvalidModel

_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED = 1, 2, 3, 4

_LLAMA3_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN2_WORDS = _LLAMA3_WORDS.replace(r"\p{N}{1,3}", r"\p{N}")


def tokenizer_files(gguf: GgufFile) -> dict[str, dict[str, Any]]:
    """Return the content of each tokenizer file by file name.

    Raises:
        InvalidModel: names a metadata key that is missing or not supported.
    """
    return {
        "tokenizer.json": _tokenizer(gguf),
        "tokenizer_config.json": _tokenizer_config(gguf),
        "generation_config.json": {
            "bos_token_id": gguf.field("tokenizer.ggml.bos_token_id"),
            "eos_token_id": gguf.field("tokenizer.ggml.eos_token_id"),
            "pad_token_id": gguf.field("tokenizer.ggml.padding_token_id"),
        },
    }


def _tokenizer(gguf: GgufFile) -> dict[str, Any]:
    kind = gguf.field("tokenizer.ggml.model")
    if kind not in ("gpt2", "llama"):
        raise InvalidModel(
            f"{gguf.path}: tokenizer {kind!r} is not supported, only 'gpt2' and 'llama'.",
            field="tokenizer.ggml.model",
            remedy="Load the model from its Hugging Face folder instead.",
        )
    tokens = _required(gguf, "tokens")
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": _added_tokens(tokens, _required(gguf, "token_type")),
        "post_processor": _post_processor(gguf, tokens),
        **(_byte_level_parts(gguf) if kind == "gpt2" else _sentencepiece_parts(gguf)),
    }


def _byte_level_parts(gguf: GgufFile) -> dict[str, Any]:
    pre = gguf.field("tokenizer.ggml.pre", "default")
    merges = [merge.split(" ") for merge in _required(gguf, "merges")]
    return {
        "normalizer": {"type": "NFC"} if pre == "qwen2" else None,
        "pre_tokenizer": _pre_tokenizer(gguf, pre),
        "decoder": _byte_level(),
        "model": _bpe(gguf, merges, ignore_merges=pre == "llama-bpe"),
    }


def _sentencepiece_parts(gguf: GgufFile) -> dict[str, Any]:
    tokens = _required(gguf, "tokens")
    normalizers: list[dict[str, Any]] = [
        {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    ]
    decoders: list[dict[str, Any]] = [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ]
    if gguf.field("tokenizer.ggml.add_space_prefix", True):
        normalizers.insert(0, {"type": "Prepend", "prepend": "▁"})
        decoders.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    unknown = tokens[gguf.field("tokenizer.ggml.unknown_token_id", 0)]
    return {
        "normalizer": {"type": "Sequence", "normalizers": normalizers},
        "pre_tokenizer": None,
        "decoder": {"type": "Sequence", "decoders": decoders},
        "model": _bpe(
            gguf, _merges_from_scores(gguf), unk_token=unknown, fuse_unk=True, byte_fallback=True
        ),
    }


def _merges_from_scores(gguf: GgufFile) -> list[list[str]]:
    """Return every way to join two tokens into a third, best score of the third first."""
    tokens, types = _required(gguf, "tokens"), _required(gguf, "token_type")
    scores = _required(gguf, "scores")
    normal = {
        token: index
        for index, (token, kind) in enumerate(zip(tokens, types, strict=True))
        if kind in (_NORMAL, _USER_DEFINED)
    }
    ranked = []
    for token, index in normal.items():
        for cut in range(1, len(token)):
            left, right = token[:cut], token[cut:]
            if left in normal and right in normal:
                ranked.append((-scores[index], normal[left], normal[right], [left, right]))
    return [pair for *_, pair in sorted(ranked, key=lambda entry: entry[:3])]


def _bpe(gguf: GgufFile, merges: list[list[str]], **settings: Any) -> dict[str, Any]:
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        "vocab": {token: index for index, token in enumerate(_required(gguf, "tokens"))},
        "merges": merges,
        **settings,
    }


def _added_tokens(tokens: list[str], types: list[int]) -> list[dict[str, Any]]:
    return [
        {
            "id": index,
            "content": token,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": kind != _USER_DEFINED,
        }
        for index, (token, kind) in enumerate(zip(tokens, types, strict=True))
        if kind in (_UNKNOWN, _CONTROL, _USER_DEFINED)
    ]


def _pre_tokenizer(gguf: GgufFile, pre: str) -> dict[str, Any]:
    if pre == "smollm":
        return _sequence({"type": "Digits", "individual_digits": True}, _byte_level())
    if pre in ("default", "gpt-2"):
        return _byte_level()
    words = {"llama-bpe": _LLAMA3_WORDS, "qwen2": _QWEN2_WORDS}.get(pre)
    if words is None:
        raise InvalidModel(
            f"{gguf.path}: pre-tokenizer {pre!r} is not supported.",
            field="tokenizer.ggml.pre",
            remedy="Load the model from its Hugging Face folder instead.",
        )
    split = {"type": "Split", "pattern": {"Regex": words}, "behavior": "Isolated", "invert": False}
    return _sequence(split, {**_byte_level(), "use_regex": False})


def _post_processor(gguf: GgufFile, tokens: list[str]) -> dict[str, Any] | None:
    bos_id = gguf.field("tokenizer.ggml.bos_token_id")
    # Files of Llama models often leave it out; llama.cpp then adds it all the same.
    pre, model = gguf.field("tokenizer.ggml.pre"), gguf.field("tokenizer.ggml.model")
    expected = pre == "llama-bpe" or model == "llama"
    if bos_id is None or not gguf.field("tokenizer.ggml.add_bos_token", expected):
        return None
    bos, text = tokens[bos_id], {"Sequence": {"id": "A", "type_id": 0}}
    return {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": bos, "type_id": 0}}, text],
        "pair": [{"SpecialToken": {"id": bos, "type_id": 0}}, text, text],
        "special_tokens": {bos: {"id": bos, "ids": [bos_id], "tokens": [bos]}},
    }


def _tokenizer_config(gguf: GgufFile) -> dict[str, Any]:
    tokens = _required(gguf, "tokens")
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_max_length": gguf.field(f"{gguf.architecture}.context_length"),
        "chat_template": gguf.field("tokenizer.chat_template"),
    }
    for name, key in (("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding")):
        token_id = gguf.field(f"tokenizer.ggml.{key}_token_id")
        config[f"{name}_token"] = None if token_id is None else tokens[token_id]
    return config


def _required(gguf: GgufFile, key: str) -> Any:
    value = gguf.field(f"tokenizer.ggml.{key}")
    if not isinstance(value, list):
        field = f"tokenizer.ggml.{key}"
        raise InvalidModel(f"{gguf.path}: {field} is missing.", field=field)
    return value


def _byte_level() -> dict[str, Any]:
    return {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": True,
    }


def _sequence(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Sequence", "pretokenizers": list(parts)}
