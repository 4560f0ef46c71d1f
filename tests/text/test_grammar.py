from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from descant.schema.errors import InputError, InvalidModel
from descant.text import Grammar, GrammarCompiler, GrammarLimits, Renderer, Tokenizer
from tests.text.small import byte_level_description, metaspace_description, small_tokenizer
from tests.text.walk import Walker

BYTE_LEVEL = Walker(small_tokenizer())
METASPACE = Walker(Tokenizer(metaspace_description(), {"eos_token": "</s>"}))
both = pytest.mark.parametrize("walker", [BYTE_LEVEL, METASPACE], ids=["byte_level", "metaspace"])
chances = st.builds(random.Random, st.integers(0, 2**32))

CALL = {
    "type": "object",
    "properties": {
        "outcome": {"enum": ["solved", "unsolved", 3, None, "café 😀"]},
        "minutes": {"type": "number", "minimum": 0, "exclusiveMaximum": 90.5},
        "count": {"type": "integer", "minimum": -3, "maximum": 120, "multipleOf": 3},
        "speakers": {
            "type": "array",
            "minItems": 1,
            "maxItems": 3,
            "items": {"$ref": "#/$defs/speaker"},
        },
    },
    "required": ["outcome", "count", "speakers"],
    "additionalProperties": False,
    "$defs": {
        "speaker": {
            "type": "object",
            "properties": {
                "naïve 😀": {"type": "string", "maxLength": 6},
                "agent": {"const": True},
            },
            "required": ["naïve 😀"],
            "additionalProperties": False,
        }
    },
}
SCHEMAS = [
    CALL,
    {"type": "string", "pattern": "^[A-Z]{2}-\\d{1,4}$"},
    {
        "anyOf": [
            {"type": "null"},
            {"type": "array", "prefixItems": [{"const": "é"}], "items": False},
        ]
    },
    {
        "$ref": "#/$defs/tree",
        "$defs": {
            "tree": {
                "type": "object",
                "properties": {"left": {"$ref": "#/$defs/tree"}, "leaf": {"type": "boolean"}},
                "required": ["leaf"],
                "additionalProperties": False,
            }
        },
    },
]


def schemas() -> st.SearchStrategy[dict[str, Any]]:
    values = st.one_of(st.none(), st.booleans(), st.integers(-99, 99), st.text(max_size=4))
    sizes = st.tuples(st.integers(0, 2), st.integers(2, 4))
    bounds = st.tuples(st.integers(-20, 0), st.integers(0, 20))
    leaves = st.one_of(
        st.lists(values, min_size=1, max_size=4).map(lambda them: {"enum": them}),
        sizes.map(lambda of: {"type": "string", "minLength": of[0], "maxLength": of[1]}),
        bounds.map(lambda of: {"type": "integer", "minimum": of[0], "maximum": of[1]}),
        bounds.map(lambda of: {"type": "number", "minimum": of[0], "exclusiveMaximum": of[1] + 1}),
    )
    return st.recursive(leaves, _composed, max_leaves=6)


def _composed(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    arrays = st.tuples(inner, st.integers(0, 1), st.integers(1, 3)).map(
        lambda of: {"type": "array", "items": of[0], "minItems": of[1], "maxItems": of[2]}
    )
    properties = st.dictionaries(st.text(max_size=3), inner, max_size=3)
    objects = st.tuples(properties, st.integers(0, 3)).map(
        lambda of: {
            "type": "object",
            "properties": of[0],
            "required": sorted(of[0])[: of[1]],
            "additionalProperties": False,
        }
    )
    return st.one_of(arrays, objects, st.lists(inner, min_size=1, max_size=3).map(_any_of))


def _any_of(of: list[dict[str, Any]]) -> dict[str, Any]:
    return {"anyOf": of}


@both
@pytest.mark.parametrize("schema", SCHEMAS)
@settings(max_examples=25, deadline=None)
@given(chance=chances)
def test_a_walk_under_a_schema_validates(
    walker: Walker, schema: dict[str, Any], chance: random.Random
) -> None:
    text = walker.text(walker.compiler.json_schema(schema), chance)
    jsonschema.validate(json.loads(text), schema)


@settings(max_examples=150, deadline=None)
@given(schema=schemas(), chance=chances)
def test_a_walk_under_any_schema_validates(schema: dict[str, Any], chance: random.Random) -> None:
    text = BYTE_LEVEL.text(BYTE_LEVEL.compiler.json_schema(schema), chance)
    jsonschema.validate(json.loads(text), schema)


@both
@settings(max_examples=25, deadline=None)
@given(chance=chances)
def test_a_walk_under_json_object_is_an_object(walker: Walker, chance: random.Random) -> None:
    assert isinstance(json.loads(walker.text(walker.compiler.json_object(), chance)), dict)


def test_json_as_python_writes_it_is_accepted_in_the_order_of_the_schema() -> None:
    speakers = [{"naïve 😀": "x", "agent": True}]
    answer = {"outcome": None, "minutes": 2.5, "count": 12, "speakers": speakers}
    text = json.dumps(answer, ensure_ascii=False)
    grammar = BYTE_LEVEL.compiler.json_schema(CALL)
    assert BYTE_LEVEL.accepts(grammar, BYTE_LEVEL.tokenizer.encode(text))
    for wrong in (text[:-1], text.replace("12", "13"), text.replace(", ", ",\n"), text + " "):
        assert not BYTE_LEVEL.accepts(grammar, BYTE_LEVEL.tokenizer.encode(wrong))


def test_a_schema_cannot_change_how_json_is_written() -> None:
    schema = {"type": "object", "x-guidance": {"whitespace_pattern": "\\s*", "lenient": True}}
    grammar = BYTE_LEVEL.compiler.json_schema(schema)
    assert not BYTE_LEVEL.accepts(grammar, BYTE_LEVEL.tokenizer.encode('{ "a":1}'))
    with pytest.raises(InputError, match="uniqueItems"):
        BYTE_LEVEL.compiler.json_schema({**schema, "type": "array", "uniqueItems": True})


@both
@pytest.mark.parametrize(
    "pattern",
    [
        r"[0-9]{4}-[^\d]{2}",
        r"(?i:yes|no)( [a-z]+)?",
        r"^[^a-z]{2,5}$",
        r"a/b\n.{1,3}",
        r"([a-ü]+\s){1,3}é😀?",
        r"<\|im_start\|>|\[INST\]",
        r"(?s).*",
        r"",
    ],
)
@settings(max_examples=25, deadline=None)
@given(chance=chances)
def test_a_walk_under_a_pattern_matches_it(
    walker: Walker, pattern: str, chance: random.Random
) -> None:
    state = walker.compiler.regex(pattern)
    text = walker.text(state, chance)
    # A tokenizer in the manner of SentencePiece drops the space in front of a text.
    assert any(re.fullmatch(pattern, space + text) for space in ("", " "))


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=5), chances)
def test_a_walk_under_choices_is_one_of_them_and_each_can_be(
    choices: list[str], chance: random.Random
) -> None:
    grammar = BYTE_LEVEL.compiler.choice(choices)
    assert BYTE_LEVEL.text(grammar, chance) in choices
    for text in choices:
        assert BYTE_LEVEL.accepts(grammar, BYTE_LEVEL.tokenizer.encode(text))


@both
def test_choices_are_the_label_set_that_scoring_knows(walker: Walker) -> None:
    labels = ["yes", "no", "not said", "yes, twice", "ça va"]
    grammar = walker.compiler.choice(labels)
    found = {walker.text(grammar, random.Random(seed)) for seed in range(200)}
    assert found == set(labels)
    renderer = Renderer(walker.tokenizer)
    assert all(walker.accepts(grammar, renderer.render_label(label)) for label in labels)


TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "refund",
            "description": "Gives money back.",
            "strict": True,
            "parameters": {
                "type": "object",
                "properties": {"why": {"$ref": "#/$defs/why"}, "cents": {"type": "integer"}},
                "required": ["why"],
                "additionalProperties": False,
                "$defs": {"why": {"enum": ["late", "broken"]}},
            },
        },
    },
    {
        "type": "function",
        "function": {
            "name": "refund_all",
            "parameters": {
                "properties": {"why": {"$ref": "#/$defs/why"}},
                "additionalProperties": False,
                "$defs": {"why": {"type": "boolean"}},
            },
        },
    },
    {"type": "function", "function": {"name": 'hang "up" é'}},
]


@both
def test_a_walk_under_tools_calls_one_of_them(walker: Walker) -> None:
    grammar = walker.compiler.tools(TOOLS)
    functions = {tool["function"]["name"]: tool["function"] for tool in TOOLS}
    called = set()
    for seed in range(60):
        call = json.loads(walker.text(grammar, random.Random(seed)))
        assert list(call) == ["name", "arguments"]
        called.add(call["name"])
        schema = functions[call["name"]].get("parameters", {"maxProperties": 0})
        jsonschema.validate(call["arguments"], {**schema, "type": "object"})
    assert called == set(functions)


@both
@settings(max_examples=10, deadline=None)
@given(st.sampled_from([r"(?s).*", r"[a-h]*(é|😀)", "yes|no"]), st.integers(0, 9), chances)
def test_a_draft_may_hold_what_the_mask_allows_and_other_spellings_of_what_is_forced(
    walker: Walker, pattern: str, num_steps: int, chance: random.Random
) -> None:
    state = walker.compiler.regex(pattern).start()
    for _ in range(num_steps):
        if not state.is_stopped:
            walker.step(state, chance)
    if not state.is_stopped:
        ids = range(walker.tokenizer.vocab_size)
        singly = {token_id for token_id in ids if state.num_accepted([token_id]) == 1}
        allowed = set(walker.allowed(state))
        assert allowed < singly if state.forced() and len(singly) > 1 else allowed == singly


@settings(max_examples=25, deadline=None)
@given(chances)
def test_a_draft_is_accepted_up_to_its_first_fault_and_not_consumed(chance: random.Random) -> None:
    grammar = BYTE_LEVEL.compiler.json_schema(CALL)
    ids = BYTE_LEVEL.walk(grammar, chance)
    state = grammar.start()
    for at, token_id in enumerate(ids):
        assert state.num_accepted(ids[at:]) == len(ids) - at
        fault = BYTE_LEVEL.tokenizer.token_id("<|im_start|>") or 0
        assert state.num_accepted([token_id, fault]) == 1
        state.accept(token_id)
    assert state.is_stopped


def test_forced_tokens_are_the_tokenizers_own() -> None:
    text = '{"agent": "hello there", "customer": '
    schema = {
        "type": "object",
        "properties": {"agent": {"const": "hello there"}, "customer": {"type": "boolean"}},
        "required": ["agent", "customer"],
    }
    state = BYTE_LEVEL.compiler.json_schema(schema).start()
    forced = state.forced()
    assert len(forced) > 5
    assert forced == BYTE_LEVEL.tokenizer.encode(text)[: len(forced)]
    assert state.num_accepted(forced) == len(forced)
    assert BYTE_LEVEL.compiler.choice(["yes", "no"]).start().forced() == []


@both
def test_text_of_any_kind_may_hold_every_token_but_reserved_ones(walker: Walker) -> None:
    known = set(range(walker.tokenizer.vocab_size)) - walker.tokenizer.reserved_ids
    allowed = walker.allowed(walker.compiler.regex("(?s).*").start())
    assert walker.tokenizer.eos_ids <= set(allowed) <= known | walker.tokenizer.eos_ids
    # What cannot begin a character may not come first.
    letters = {walker.tokenizer.token_id(letter) for letter in "ahz:"}
    assert letters - {None} <= set(allowed)


def test_structure_that_is_not_marked_special_is_never_allowed() -> None:
    description = byte_level_description()
    token_id = max(description["model"]["vocab"].values()) + 1
    think = {**description["added_tokens"][0], "id": token_id, "content": "<think>"}
    description["added_tokens"].append({**think, "special": False})
    walker = Walker(Tokenizer(description, {"eos_token": "<|im_end|>"}))
    state = walker.compiler.choice(["<think>"]).start()
    assert token_id not in walker.allowed(state)
    assert state.num_accepted([token_id]) == 0


@pytest.mark.parametrize("text", ["<|im_start|>", "a<|im_end|>b", "<|im_end|>", "<|endoftext|>"])
def test_control_tokens_in_the_only_text_there_is_are_letters(text: str) -> None:
    # What is forced is cut into tokens at once, and a reserved token must not be found there.
    schema = {"type": "object", "properties": {text: {"const": text}}, "required": [text]}
    known = json.dumps({text: text})
    for grammar, expected in (
        (BYTE_LEVEL.compiler.choice([text]), text),
        (BYTE_LEVEL.compiler.json_schema({**schema, "additionalProperties": False}), known),
    ):
        ids = BYTE_LEVEL.walk(grammar, random.Random(0))
        assert ids == grammar.start().forced() == BYTE_LEVEL.tokenizer.encode(expected)
        assert BYTE_LEVEL.tokenizer.decode(ids) == expected


def test_ids_without_a_token_are_never_allowed() -> None:
    description = byte_level_description()
    first = max(description["model"]["vocab"].values()) + 1
    last = {**description["added_tokens"][0], "id": first, "content": "<last>"}
    description["added_tokens"].append(last)
    del description["model"]["vocab"]["z"]
    walker = Walker(Tokenizer(description, {"eos_token": "<|im_end|>"}))
    gap = BYTE_LEVEL.tokenizer.token_id("z")
    assert walker.tokenizer.token_id("z") is None
    for text in (f"<[{gap}]>", f"<[{first + 1}]>"):
        ids = walker.walk(walker.compiler.choice([text]), random.Random(0))
        assert walker.tokenizer.decode(ids) == text
        assert len(ids) > 1


def test_text_that_the_tokenizer_would_change_can_still_be_forced() -> None:
    description = byte_level_description()
    description["normalizer"] = {"type": "NFC"}
    walker = Walker(Tokenizer(description, {"eos_token": "<|im_end|>"}))
    text = "cafe\u0301"
    assert walker.tokenizer.decode(walker.tokenizer.encode(text)) != text
    assert walker.text(walker.compiler.choice([text]), random.Random(0)) == text


def test_every_end_token_may_end_a_text_and_only_where_it_may_end() -> None:
    tokenizer = Tokenizer(
        byte_level_description(), {"eos_token": "<|im_end|>"}, eos_ids=frozenset([0])
    )
    assert len(tokenizer.eos_ids) == 2
    for end in tokenizer.eos_ids:
        state = GrammarCompiler(tokenizer, tokenizer.vocab_size).regex("ya*").start()
        assert state.num_accepted([end]) == 0
        state.accept(tokenizer.token_id("y") or 0)
        assert not state.is_stopped
        state.accept(end)
        assert state.is_stopped


def test_a_text_that_cannot_go_on_stops_without_an_end_token() -> None:
    state = BYTE_LEVEL.compiler.choice(["yes", "no"]).start()
    for token_id in BYTE_LEVEL.tokenizer.encode("no"):
        assert not state.is_stopped
        state.accept(token_id)
    assert state.is_stopped


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=80), st.integers(0, 1000))
def test_states_of_one_grammar_do_not_touch_each_other(turns: list[int], seed: int) -> None:
    grammar = BYTE_LEVEL.compiler.json_schema(CALL)
    states = [grammar.start() for _ in range(4)]
    together: list[list[int]] = [[] for _ in states]
    shared = [random.Random(seed + at) for at in range(4)]
    for at in turns:
        if not states[at].is_stopped:
            together[at].append(BYTE_LEVEL.step(states[at], shared[at]))
    for at, ids in enumerate(together):
        alone = BYTE_LEVEL.walk(grammar, random.Random(seed + at))
        assert alone[: len(ids)] == ids


def test_threads_share_a_compiler_and_a_grammar() -> None:
    grammar = BYTE_LEVEL.compiler.json_schema(CALL)

    def walk(seed: int) -> list[int]:
        own = BYTE_LEVEL.compiler.json_schema(CALL) if seed % 2 else grammar
        return BYTE_LEVEL.walk(own, random.Random(seed))

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(walk, range(64))) == [walk(seed) for seed in range(64)]


def test_a_token_that_is_not_allowed_is_a_fault_of_the_caller() -> None:
    state = BYTE_LEVEL.compiler.choice(["yes", "no"]).start()
    with pytest.raises(AssertionError, match="not allowed"):
        state.accept(BYTE_LEVEL.tokenizer.token_id("z") or 0)


Request = Callable[[GrammarCompiler], Grammar]


def _deep(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


def _tool(**function: Any) -> dict[str, Any]:
    return {"type": "function", "function": function}


SCHEMA_FIELD = "response_format.json_schema.schema"
WRONG: list[tuple[Request, str, str]] = [
    (lambda c: c.json_schema({"type": "objet"}), SCHEMA_FIELD, "objet"),
    (lambda c: c.json_schema([1]), SCHEMA_FIELD, "object"),  # type: ignore[arg-type]
    (lambda c: c.json_schema({"const": {1, 2}}), SCHEMA_FIELD, "not JSON"),
    (lambda c: c.json_schema({"patternProperties": {1: "["}}), SCHEMA_FIELD, "cannot be followed"),
    (lambda c: c.json_schema({"const": float("nan")}), SCHEMA_FIELD, "not JSON"),
    (lambda c: c.json_schema({"const": "\ud800"}), SCHEMA_FIELD, "hex escape"),
    (lambda c: c.json_schema({"$ref": "https://example.com/a"}), SCHEMA_FIELD, "example.com"),
    (lambda c: c.json_schema({"$ref": "#"}), SCHEMA_FIELD, "cannot be followed"),
    (lambda c: c.json_schema({"not": {}}), SCHEMA_FIELD, "not"),
    (lambda c: c.json_schema({"required": ["a"], "properties": {"a": False}, "type": "object"}),
     SCHEMA_FIELD, "Unsatisfiable"),
    (lambda c: c.json_schema({"type": 1}, field="here"), "here", "type"),
    (lambda c: c.regex("["), "regex", "unclosed"),
    (lambda c: c.regex("(?=a)b"), "regex", "look-around"),
    (lambda c: c.regex(r"(a)\1"), "regex", "backreferences"),
    (lambda c: c.regex(r"(?-u:\xff)<\|im_start\|>"), "regex", "UTF-8"),
    (lambda c: c.regex(r"[^\s\S]"), "regex", "cannot be followed"),
    (lambda c: c.regex(3), "regex", "text"),  # type: ignore[arg-type]
    (lambda c: c.choice([]), "choice", "list of texts"),
    (lambda c: c.choice("yes"), "choice", "list of texts"),
    (lambda c: c.choice(["yes", 1]), "choice", "list of texts"),  # type: ignore[list-item]
    (lambda c: c.choice(["\ud800"]), "choice", "hex escape"),
    (lambda c: c.tools([]), "tools", "list of functions"),
    (lambda c: c.tools([{"type": "function"}]), "tools[0]", "describes a function"),
    (lambda c: c.tools([_tool()]), "tools[0].function.name", "name"),
    (lambda c: c.tools([_tool(name="a"), _tool(name="a")]), "tools", "same name"),
    (lambda c: c.tools([_tool(name="a"), _tool(name="b", parameters={"type": "string"})]),
     "tools[1].function.parameters", "object"),
    (lambda c: c.tools([_tool(name="a"), _tool(name="b", parameters={"if": {}})]),
     "tools[1].function.parameters", "if"),
]  # fmt: skip


@pytest.mark.parametrize(("request_", "field", "reason"), WRONG)
def test_what_cannot_be_followed_is_said_with_its_field(
    request_: Request, field: str, reason: str
) -> None:
    with pytest.raises(InputError, match=re.escape(reason)) as caught:
        request_(BYTE_LEVEL.compiler)
    assert caught.value.field == field
    assert "\n" not in caught.value.message


HOSTILE: list[Request] = [
    lambda c: c.regex("(a*)*" * 2_000),
    lambda c: c.json_schema({"anyOf": [{"pattern": f"{at}" + "(a*)*" * 500} for at in range(5)]}),
    lambda c: c.json_schema({"patternProperties": {"(a*)*" * 2_000: {}}}),
    lambda c: c.choice(["a" * 100_000]),
    lambda c: c.regex(r"[\w\s\d]{0,1000}" * 500),
    lambda c: c.choice([f"label {at}" for at in range(100_000)]),
    lambda c: c.json_schema(_deep(200)),
    lambda c: c.json_schema(_deep(100_000)),
    lambda c: c.json_schema({"properties": {f"{at}": {} for at in range(5000)}}),
    lambda c: c.json_schema({"patternProperties": {f"^{at:05}$": {} for at in range(300)}}),
    lambda c: c.json_schema({"type": "integer", "multipleOf": 99999989}),
    lambda c: c.json_schema({"allOf": [{"multipleOf": 997}, {"multipleOf": 0.991}]}),
    lambda c: c.json_schema({"anyOf": [{"multipleOf": at * 1e305} for at in range(1, 1500)]}),
    lambda c: c.json_schema({"allOf": [{"multipleOf": 10**300}, {"multipleOf": 1e-300}]}),
    lambda c: c.json_schema(
        {"allOf": [{"anyOf": [{"properties": {f"{a}": {"const": b}}} for b in "01"]} for a in range(24)]}
    ),
    lambda c: c.tools([_tool(name=f"f{at}", description="x", parameters={"title": "x" * 900})
                       for at in range(100)]),
]  # fmt: skip


@pytest.mark.parametrize("request_", HOSTILE)
def test_what_would_cost_too_much_is_refused(request_: Request) -> None:
    with pytest.raises(InputError):
        request_(BYTE_LEVEL.compiler)


def test_small_steps_of_a_multiple_are_no_large_number() -> None:
    grammar = BYTE_LEVEL.compiler.json_schema({"type": "number", "multipleOf": 0.01, "minimum": 0})
    assert BYTE_LEVEL.accepts(grammar, BYTE_LEVEL.tokenizer.encode("12.34"))
    assert not BYTE_LEVEL.accepts(grammar, BYTE_LEVEL.tokenizer.encode("12.345"))


def test_a_grammar_that_grows_too_large_while_text_is_generated_says_so() -> None:
    limits = GrammarLimits(max_lexer_states=300)
    compiler = GrammarCompiler(BYTE_LEVEL.tokenizer, BYTE_LEVEL.vocab_size, limits)
    grammar = compiler.regex("(?s)(.*a.{30}b.*)|(.*c.{40}d.*)", field="pattern")
    state, neighbour = grammar.start(), grammar.start()
    with pytest.raises(InputError, match="too many states") as caught:
        for token_id in BYTE_LEVEL.tokenizer.encode("acab" * 100):
            BYTE_LEVEL.allowed(state)
            state.accept(token_id)
    assert caught.value.field == "pattern"
    BYTE_LEVEL.step(neighbour, random.Random(0))


def test_a_tokenizer_that_grammars_cannot_use_is_refused() -> None:
    tokenizer = BYTE_LEVEL.tokenizer
    with pytest.raises(InvalidModel, match="vocab size"):
        GrammarCompiler(tokenizer, tokenizer.vocab_size - 1)
    with pytest.raises(InvalidModel, match="no end token"):
        GrammarCompiler(Tokenizer(byte_level_description(), {}), 400)
