"""Grammars that generated text must follow, compiled for one tokenizer by the library llguidance.

A grammar describes bytes, and the library walks all tokens of the vocabulary along it. Reserved tokens
have no bytes, so none of them is ever allowed, except the end tokens where the text may end.

JSON is written on one line as `json.dumps` writes it: free whitespace would let a small model fill
its whole answer with it. https://github.com/guidance-ai/llguidance, docs/json_schema.md
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
from llguidance import LLMatcher, LLParserLimits, LLTokenizer, TokenizerWrapper
from llguidance.numpy import fill_next_token_bitmask
from numpy.typing import NDArray

from descant.schema import Constraint
from descant.schema.errors import InputError, InvalidModel
from descant.text.tokenizer import Tokenizer

# All of the library's options are set here, so that a schema cannot set them.
_JSON_STYLE = {
    "item_separator": ", ",
    "key_separator": ": ",
    "whitespace_flexible": False,
    "whitespace_pattern": None,
    "coerce_one_of": False,
    "lenient": False,
}
_HUGE = Decimal(10**9)
_NO_ARGUMENTS = {"type": "object", "properties": {}, "additionalProperties": False}


@dataclass(frozen=True)
class GrammarLimits:
    """What keeps the cost of a grammar that a stranger sent to about a second and 100 MB.

    The library counts its own work; the first five bound what it does not count.
    """

    max_source_bytes: int = 65_536
    """Of a schema, a list of choices or an array of tools."""
    max_pattern_bytes: int = 8_192
    """Of all regular expressions together; one of 64 kB can take seconds for its first mask."""
    max_keys: int = 3_000
    """In all objects of a schema; building one object of n properties takes n² steps."""
    max_pattern_properties: int = 100
    """In a whole schema; every pattern is compared with every other."""
    max_multiple_of: int = 10_000
    """The least common multiple of all `multipleOf` in units of their last decimal place, which is
    the number of states that counting takes."""
    max_lexer_states: int = 50_000
    """Of one sequence, at about 2 kB."""
    initial_lexer_fuel: int = 300_000
    """Steps for reading a grammar's regular expressions, of about 20 ns."""


class GrammarCompiler:
    """Compiles grammars for one tokenizer; built once, used by any number of threads.

    `vocab_size` is the model's: what it has beyond the tokenizer's tokens is never allowed. Every
    `field` is the name under which errors report what the caller sent.

    Raises:
        InvalidModel: the tokenizer has no end token, is larger than `vocab_size`, or is of a kind
            whose tokens cannot be told as bytes.
    """

    def __init__(
        self, tokenizer: Tokenizer, vocab_size: int, limits: GrammarLimits | None = None
    ) -> None:
        self._limits = limits or GrammarLimits()
        self._tokenizer = _index(tokenizer, vocab_size)
        self._num_words = (vocab_size + 31) // 32

    def json_object(self) -> Grammar:
        """Return the grammar of any JSON object."""
        return self._compile([{"json_schema": _styled({"type": "object"})}], "response_format")

    def json_schema(
        self, schema: Mapping[str, Any], *, field: str = "response_format.json_schema.schema"
    ) -> Grammar:
        """Return the grammar of JSON that satisfies a schema (draft 2020-12), keys in its order.

        Raises:
            InputError: the schema is not valid, uses a keyword that cannot be enforced, cannot be
                satisfied, or is too large.
        """
        self._check_schema(schema, field)
        return self._compile([{"json_schema": _styled(schema)}], field)

    def regex(self, pattern: str, *, field: str = "regex") -> Grammar:
        """Return the grammar of text that matches a pattern as a whole.

        The syntax is that of Rust's `regex`: Python's without look-around and back-references.

        Raises:
            InputError: the pattern is not valid, matches nothing, or is too large.
        """
        if not isinstance(pattern, str):
            raise InputError("The pattern must be a text.", field=field)
        _check_size(pattern, self._limits.max_pattern_bytes, field)
        return self._compile(json.loads(LLMatcher.grammar_from_regex(pattern))["grammars"], field)

    def choice(self, choices: Sequence[str], *, field: str = "choice") -> Grammar:
        """Return the grammar of exactly these texts.

        Raises:
            InputError: there are none, one is not a text, or they are too long together.
        """
        is_list = isinstance(choices, Sequence) and not isinstance(choices, str)
        if not is_list or not choices or not all(isinstance(text, str) for text in choices):
            raise InputError(
                "The choices must be a list of texts.", field=field, remedy="Send at least one."
            )
        literals = " | ".join(json.dumps(text) for text in choices)
        return self._compile([{"lark_grammar": f"start: {literals}"}], field)

    def tools(self, tools: Sequence[Mapping[str, Any]], *, field: str = "tools") -> Grammar:
        """Return the grammar of a call of one function out of a `tools` array as OpenAI's API has it.

        The text is ``{"name": ..., "arguments": {...}}``; a function without `parameters` takes none.

        Raises:
            InputError: there are no tools, two have one name, or the parameters of one are not a
                usable schema of an object.
        """
        if isinstance(tools, str) or not isinstance(tools, Sequence) or not tools:
            raise InputError(
                "The tools must be a list of functions.", field=field, remedy="Send at least one."
            )
        functions = [_read_function(tool, f"{field}[{at}]") for at, tool in enumerate(tools)]
        if len({function.name for function in functions}) < len(functions):
            raise InputError("Two functions have the same name.", field=field)
        for function in functions:
            self._check_schema(function.parameters, function.field)
            # Alone first, so that an error names the function that it is in.
            self._compile([{"json_schema": _styled(function.parameters)}], function.field)
        return self._compile(_calls(functions), field)

    def _check_schema(self, schema: object, field: str) -> None:
        if not isinstance(schema, Mapping):
            raise InputError("The schema must be a JSON object.", field=field)
        try:
            source = json.dumps(schema, allow_nan=False)
            nodes = list(_objects_in(json.loads(source)))
        except (TypeError, ValueError, RecursionError) as error:
            raise InputError(f"The schema is not JSON: {error}.", field=field) from error
        _check_size(source, self._limits.max_source_bytes, field)
        limits = self._limits
        measured = {
            "keys": (sum(map(len, nodes)), limits.max_keys),
            "patternProperties": (_num_pattern_properties(nodes), limits.max_pattern_properties),
            "bytes of patterns": (_num_pattern_bytes(nodes), limits.max_pattern_bytes),
            "as the common multiple of every multipleOf": (
                _common_multiple(nodes),
                limits.max_multiple_of,
            ),
        }
        for what, (number, limit) in measured.items():
            if number > limit:
                raise InputError(f"The schema is too large: more than {limit} {what}.", field=field)

    def _compile(self, grammars: Sequence[Mapping[str, Any]], field: str) -> Grammar:
        source = json.dumps({"grammars": grammars})
        _check_size(source, self._limits.max_source_bytes, field)
        limits = LLParserLimits(
            initial_lexer_fuel=self._limits.initial_lexer_fuel,
            max_lexer_states=self._limits.max_lexer_states,
            # It takes seconds that no limit counts.
            precompute_large_lexemes=False,
            verbose_errors=False,
        )
        grammar = Grammar(self._tokenizer, source, limits, field)
        # That nothing can satisfy a grammar shows in its first mask.
        grammar.start().fill_mask(np.zeros(self._num_words, dtype=np.int32))
        return grammar


class Grammar:
    """One grammar that was found good, shared by all sequences that follow it."""

    def __init__(
        self, tokenizer: LLTokenizer, source: str, limits: LLParserLimits, field: str
    ) -> None:
        self._tokenizer = tokenizer
        self._source = source
        self._limits = limits
        self._field = field

    def start(self) -> Constraint:
        """Return the state of a sequence that has generated nothing yet.

        Copies of one matcher would share its lexer, and with it the limit on its states: one
        sequence could use up what the others need.
        """
        matcher = LLMatcher(self._tokenizer, self._source, log_level=0, limits=self._limits)
        _raise_error_of(matcher, self._field)
        return _Position(matcher, self._field)


class _Position:
    """Where in a grammar one sequence stands; see `Constraint`."""

    def __init__(self, matcher: LLMatcher, field: str) -> None:
        self._matcher = matcher
        self._field = field

    def fill_mask(self, bitmask: NDArray[np.int32]) -> None:
        fill_next_token_bitmask(self._matcher, bitmask[np.newaxis])
        _raise_error_of(self._matcher, self._field)

    def accept(self, token_id: int) -> None:
        num_accepted = self._matcher.try_consume_tokens([token_id])
        _raise_error_of(self._matcher, self._field)
        assert num_accepted == 1, f"token {token_id} is not allowed here"

    @property
    def is_stopped(self) -> bool:
        return self._matcher.is_stopped()

    def num_accepted(self, token_ids: Sequence[int]) -> int:
        return self._matcher.validate_tokens(list(token_ids))

    def forced(self) -> list[int]:
        return self._matcher.compute_ff_tokens()


@dataclass(frozen=True)
class _Function:
    """One entry of a `tools` array."""

    name: str
    parameters: Mapping[str, Any]
    field: str
    """Of the parameters."""


class _Vocabulary:
    """A tokenizer as the library wants it: tokens as bytes, and how it cuts a text into them.

    Where a grammar leaves one text only, the library asks for that text's tokens and allows no
    others. Left to read ``tokenizer.json`` by itself it would find reserved tokens in the text.
    """

    bos_token_id = None

    def __init__(self, tokenizer: Tokenizer, vocab_size: int) -> None:
        self._tokenizer = tokenizer
        self._bytes = LLTokenizer(
            tokenizer.to_json(), n_vocab=vocab_size, eos_token=sorted(tokenizer.eos_ids)
        )
        self.eos_token_id = min(tokenizer.eos_ids)
        self.special_token_ids = sorted(tokenizer.reserved_ids | tokenizer.eos_ids)
        self.tokens = [self._bytes_of(token_id) for token_id in range(vocab_size)]

    def _bytes_of(self, token_id: int) -> bytes:
        # To ids without a token the library gives a name of its own, as if it were text.
        is_token = token_id in self.special_token_ids or not self._tokenizer.is_textless(token_id)
        return self._bytes.decode_bytes([token_id]) if is_token else b""

    def __call__(self, text: bytes) -> list[int]:
        ids = self._tokenizer.encode(text.decode(), follows=True)
        if b"".join(self.tokens[token_id] for token_id in ids) == text:
            return ids
        # Some tokenizers change text on the way, into composed letters or with a space before it.
        return self._bytes.greedy_tokenize(text.decode())


def _index(tokenizer: Tokenizer, vocab_size: int) -> LLTokenizer:
    if not tokenizer.eos_ids:
        raise InvalidModel(
            "The tokenizer names no end token, so no grammar could end.",
            field="eos_token",
            remedy="Name one in tokenizer_config.json or generation_config.json.",
        )
    try:
        vocabulary = TokenizerWrapper(_Vocabulary(tokenizer, vocab_size))
        return LLTokenizer(vocabulary, eos_token=sorted(tokenizer.eos_ids))
    except ValueError as error:
        raise InvalidModel(
            f"Grammars cannot be used with this tokenizer: {error}.", field="tokenizer.json"
        ) from error


def _styled(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {**schema, "x-guidance": _JSON_STYLE}


def _calls(functions: Sequence[_Function]) -> list[dict[str, Any]]:
    """Return a grammar that names a function and goes on with the grammar of its arguments."""
    rules = ["start: " + " | ".join(f"call_{at}" for at in range(len(functions)))]
    grammars = []
    for at, function in enumerate(functions):
        opening = json.dumps(f'{{"name": {json.dumps(function.name)}, "arguments": ')
        rules.append(f'call_{at}: {opening} @arguments_{at} "}}"')
        # A grammar of its own, because references in a schema are relative to its root.
        grammars.append({"name": f"arguments_{at}", "json_schema": _styled(function.parameters)})
    return [{"lark_grammar": "\n".join(rules)}, *grammars]


def _read_function(tool: object, field: str) -> _Function:
    function = tool.get("function") if isinstance(tool, Mapping) else None
    if not isinstance(function, Mapping):
        raise InputError(
            "A tool must be an object that describes a function.",
            field=field,
            remedy='Send {"type": "function", "function": {"name": ..., "parameters": {...}}}.',
        )
    name, parameters = function.get("name"), function.get("parameters")
    if not isinstance(name, str) or not name:
        raise InputError("A function must have a name.", field=f"{field}.function.name")
    parameters = _NO_ARGUMENTS if parameters is None else parameters
    field = f"{field}.function.parameters"
    if not isinstance(parameters, Mapping) or parameters.get("type", "object") != "object":
        raise InputError("The parameters must be the schema of an object.", field=field)
    return _Function(name, {"type": "object", **parameters}, field)


def _objects_in(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    waiting: list[Any] = [schema]
    while waiting:
        node = waiting.pop()
        if isinstance(node, Mapping):
            yield node
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)


def _check_size(source: str, limit: int, field: str) -> None:
    if len(source.encode(errors="replace")) > limit:
        raise InputError(f"This is longer than {limit} bytes.", field=field)


def _num_pattern_properties(nodes: Sequence[Mapping[str, Any]]) -> int:
    found = (node.get("patternProperties") for node in nodes)
    return sum(len(patterns) for patterns in found if isinstance(patterns, Mapping))


def _num_pattern_bytes(nodes: Sequence[Mapping[str, Any]]) -> int:
    found = (node.get("pattern") for node in nodes)
    patterns = [pattern for pattern in found if isinstance(pattern, str)]
    for node in nodes:
        named = node.get("patternProperties")
        patterns += named if isinstance(named, Mapping) else ()
    return sum(len(pattern.encode(errors="replace")) for pattern in patterns)


def _common_multiple(nodes: Sequence[Mapping[str, Any]]) -> int:
    found = (node.get("multipleOf") for node in nodes)
    numbers = [n for n in found if isinstance(n, int | float) and not isinstance(n, bool)]
    values = [Decimal(str(number)) for number in numbers]
    last_place = min((value.normalize().as_tuple().exponent for value in values), default=0)
    places = -min(0, int(last_place))
    # Numbers far above any limit are cut, because their multiple would have a million digits.
    return math.lcm(*(int(min(value.scaleb(places), _HUGE)) for value in values))


def _raise_error_of(matcher: LLMatcher, field: str) -> None:
    if not matcher.is_error():
        return
    lines = matcher.get_error().splitlines()
    # The library's parsers draw a picture of the place; what is wrong stands behind "error:".
    reason = next((line for line in lines if line.startswith("error: ")), lines[0])
    raise InputError(
        f"This cannot be followed: {reason.removeprefix('error: ')[:300]}.",
        field=field,
        remedy="Write it without the part named here, or simpler.",
    )
