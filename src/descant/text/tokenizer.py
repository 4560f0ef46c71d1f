"""Token ids of text, from the tokenizer files of a Hugging Face folder.

Text from outside and text from a template are encoded by two methods. Only a template can yield
reserved tokens, the ones that begin and end messages; in plain text the same strings are letters
like any others.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tokenizers

from descant.schema.errors import InvalidModel

_SURROGATE = re.compile("[\ud800-\udfff]")
_BYTE_TOKEN = re.compile("<0x[0-9A-F]{2}>")
_NAMED_TOKENS = ("bos_token", "eos_token", "unk_token", "pad_token")


@dataclass(frozen=True)
class _Encoders:
    """One vocabulary, three ways to read a string with it."""

    template: tokenizers.Tokenizer
    """Finds reserved tokens in the string."""
    plain: tokenizers.Tokenizer
    plain_following: tokenizers.Tokenizer
    """Plain, for text that does not stand at the beginning of the sequence."""


class Tokenizer:
    """Turns text into token ids and back.

    Raises:
        InvalidModel: the tokenizer's description cannot be used; names file and field.
    """

    def __init__(
        self,
        description: Mapping[str, Any],
        config: Mapping[str, Any],
        chat_template: str | None = None,
        eos_ids: frozenset[int] = frozenset(),
    ):
        self._encoders = _build_encoders(description)
        self._reserved = frozenset(
            token["id"] for token in description.get("added_tokens", ()) if _is_reserved(token)
        )
        added = self._encoders.template.get_added_tokens_decoder()
        self._special = frozenset(at for at, token in added.items() if token.special)
        self.chat_template = chat_template
        self.named_tokens = _named_tokens(config)
        """``bos_token``, ``eos_token`` and so on, as chat templates call them."""
        self.eos_ids = eos_ids | self._ids_of(("eos_token",))

    @classmethod
    def load(cls, folder: Path) -> Tokenizer:
        """Read ``tokenizer.json`` and what stands beside it: names, chat template, end tokens.

        Raises:
            InvalidModel: a file is missing or not usable; names file and field.
        """
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise InvalidModel(
                f"{path} is missing.",
                field="tokenizer.json",
                remedy="Only folders with a fast tokenizer can be used; save one beside the weights.",
            )
        config = _read(folder / "tokenizer_config.json")
        return cls(_read(path), config, _read_template(folder, config), _read_eos_ids(folder))

    @property
    def vocab_size(self) -> int:
        """Number of tokens, reserved ones included."""
        return self._encoders.template.get_vocab_size(with_added_tokens=True)

    @property
    def reserved_ids(self) -> frozenset[int]:
        """Ids that plain text never becomes."""
        return self._reserved

    def to_json(self) -> str:
        """Return the content of ``tokenizer.json`` in which every reserved token is marked special."""
        return self._encoders.plain.to_str()

    def token_id(self, token: str) -> int | None:
        """Return the id of one token of the vocabulary, or None."""
        return self._encoders.template.token_to_id(token)

    def encode(self, text: str, *, follows: bool = False) -> list[int]:
        """Return the ids of plain text; none of them is reserved, whatever the text says.

        `follows` says that the text continues a sequence: some tokenizers put a space in front of
        a text that begins one.

        Raises:
            InvalidModel: the vocabulary reserves a token that plain text cannot avoid.
        """
        text = _SURROGATE.sub("\ufffd", text)
        encoders = self._encoders
        encoder = encoders.plain_following if follows else encoders.plain
        encoding = encoder.encode(text, add_special_tokens=False)
        ids: list[int] = encoding.ids
        if self._reserved.isdisjoint(ids):
            return ids
        hit = next(at for at, token_id in enumerate(ids) if token_id in self._reserved)
        start, end = encoding.offsets[hit]
        if end - start < 2:
            raise InvalidModel(
                f"The tokenizer turns the text {text[start:end]!r} into a reserved token.",
                field="added_tokens",
            )
        # Cut inside the match, so that neither half is the reserved token.
        head, tail = text[: start + 1], text[start + 1 :]
        return self.encode(head, follows=follows) + self.encode(tail, follows=True)

    def encode_template(self, text: str, *, follows: bool = False) -> list[int]:
        """Return the ids of text that a template wrote; reserved tokens in it are recognised."""
        return self.encode_parts(self.split_template(text), follows=follows)

    def split_template(self, text: str) -> list[int | str]:
        """Return the reserved tokens of a template's text as ids, and the text between them."""
        encoding = self._encoders.template.encode(text, add_special_tokens=False)
        parts: list[int | str] = []
        done = 0
        for token_id, (start, end) in zip(encoding.ids, encoding.offsets, strict=True):
            if token_id in self._reserved:
                parts += [text[done:start], token_id]
                done = end
        parts.append(text[done:])
        return [part for part in parts if part != ""]

    def encode_parts(self, parts: Sequence[int | str], *, follows: bool = False) -> list[int]:
        """Return the ids of reserved tokens and plain texts in a row.

        Texts side by side are encoded as one, as they would be if the whole were one string.
        """
        ids: list[int] = []
        run = ""
        for part in [*parts, None]:
            if isinstance(part, str):
                run += part
                continue
            if run:
                ids += self.encode(run, follows=follows or bool(ids))
                run = ""
            if part is not None:
                ids.append(part)
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids; special tokens and ids without a token have none."""
        return self._encoders.template.decode(list(ids), skip_special_tokens=True)

    def is_textless(self, token_id: int) -> bool:
        """Whether `decode` leaves the id out."""
        return token_id in self._special or self._encoders.template.id_to_token(token_id) is None

    def is_byte(self, token_id: int) -> bool:
        """Whether the token is one byte of a character that the vocabulary lacks."""
        token = self._encoders.template.id_to_token(token_id)
        return token is not None and _BYTE_TOKEN.fullmatch(token) is not None

    def _ids_of(self, names: Sequence[str]) -> frozenset[int]:
        ids = (self.token_id(self.named_tokens.get(name, "")) for name in names)
        return frozenset(token_id for token_id in ids if token_id is not None)


def _is_reserved(token: Mapping[str, Any]) -> bool:
    # Some vocabularies add runs of spaces or words of a trade; these are ordinary text.
    content = token["content"]
    return bool(token.get("special")) or not (content.isspace() or content.isalnum())


def _build_encoders(description: Mapping[str, Any]) -> _Encoders:
    added = [
        {**token, "special": _is_reserved(token)} for token in description.get("added_tokens", ())
    ]
    plain = _plain_encoder({**description, "added_tokens": added})
    pre_tokenizer = _without_first_space(description.get("pre_tokenizer"))
    if pre_tokenizer == description.get("pre_tokenizer"):
        return _Encoders(_encoder(description), plain, plain)
    following = {**description, "added_tokens": added, "pre_tokenizer": pre_tokenizer}
    return _Encoders(_encoder(description), plain, _plain_encoder(following))


def _without_first_space(pre_tokenizer: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if pre_tokenizer is None:
        return None
    changed = dict(pre_tokenizer)
    if changed.get("prepend_scheme") == "first":
        changed["prepend_scheme"] = "never"
    if "pretokenizers" in changed:
        changed["pretokenizers"] = [_without_first_space(step) for step in changed["pretokenizers"]]
    return changed


def _plain_encoder(description: Mapping[str, Any]) -> tokenizers.Tokenizer:
    encoder = _encoder(description)
    # What is marked special is then encoded as the text it is.
    encoder.encode_special_tokens = True
    return encoder


def _encoder(description: Mapping[str, Any]) -> tokenizers.Tokenizer:
    try:
        encoder = tokenizers.Tokenizer.from_str(json.dumps(description))
    except Exception as error:  # the library raises bare Exception
        raise InvalidModel(
            f"tokenizer.json cannot be used: {error}.", field="tokenizer.json"
        ) from error
    encoder.no_truncation()
    encoder.no_padding()
    return encoder


def _named_tokens(config: Mapping[str, Any]) -> dict[str, str]:
    named = {}
    for name in _NAMED_TOKENS:
        value = config.get(name)
        content = value.get("content") if isinstance(value, Mapping) else value
        if isinstance(content, str):
            named[name] = content
    return named


def _read(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file; empty if there is no file."""
    try:
        content = json.loads(path.read_bytes()) if path.exists() else {}
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidModel(f"{path}: cannot be read as JSON: {error}.", field=path.name) from error
    if not isinstance(content, dict):
        raise InvalidModel(f"{path}: must be a JSON object.", field=path.name)
    return content


def _read_template(folder: Path, config: Mapping[str, Any]) -> str | None:
    path = folder / "chat_template.jinja"
    if path.is_file():
        return path.read_text(encoding="utf-8")
    template = config.get("chat_template")
    if isinstance(template, list):
        named = {entry.get("name"): entry.get("template") for entry in template}
        template = named.get("default")
    if template is not None and not isinstance(template, str):
        raise InvalidModel(
            f"{folder / 'tokenizer_config.json'}: chat_template must be a text.",
            field="chat_template",
        )
    return template


def _read_eos_ids(folder: Path) -> frozenset[int]:
    for name in ("generation_config.json", "config.json"):
        ids = _read(folder / name).get("eos_token_id")
        if ids is not None:
            return frozenset(ids if isinstance(ids, list) else [ids])
    return frozenset()
