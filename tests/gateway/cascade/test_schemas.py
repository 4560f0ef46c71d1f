"""Answers that must be JSON of a form; `jsonschema` in Python is the slow twin."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st

from descant.gateway.cascade import Cascade, CascadeAnswer, CascadeConfig, StageConfig, Thresholds
from descant.gateway.cascade.acceptance import Acceptance, compile_schema
from descant.schema.errors import InputError, InvalidConfig, MissingDependency
from tests.gateway.cascade.scripted import Models, Stage, call, chat, stage

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "pattern": "^[a-z]+$"}, "n": {"type": "integer"}},
    "required": ["name"],
    "additionalProperties": False,
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}


def ask(first_stage: Stage, first: dict[str, Any], **body: Any) -> CascadeAnswer:
    config = CascadeConfig(dict([first_stage, stage("large")]))
    cascade = Cascade(config, Thresholds(), lambda: 100.0)
    models = Models({"small": first, "large": chat("{}")})
    return asyncio.run(cascade.run(call("chat", messages=[], **body), models))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"name": "ab"}', None),
        ('{"name": "ab", "n": 1.5}', "schema"),
        ('{"name": "AB"}', "schema"),
        ("{", "not_json"),
        ("", "not_json"),
    ],
)
def test_the_request_says_what_an_answer_must_fit(text: str, reason: str | None) -> None:
    answer = ask(stage("small", "schema"), chat(text), response_format=FORMAT)
    assert answer.steps[0].refused.get("answer") == reason


def test_without_a_schema_any_json_will_do_and_json_object_wants_an_object() -> None:
    small = stage("small", "schema")
    assert ask(small, chat("3")).answered_by == {"answer": "small"}
    wanted = {"type": "json_object"}
    assert ask(small, chat("3"), response_format=wanted).answered_by == {"answer": "large"}


def test_the_schema_of_a_stage_goes_before_that_of_the_request(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text('{"type": "array"}')
    small = stage("small", "schema", schema_file=tmp_path / "s.json")
    assert ask(small, chat("[]"), response_format=FORMAT).answered_by == {"answer": "small"}


def test_a_schema_file_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text('{"type": "nothing"}')
    small = stage("small", "schema", schema_file=tmp_path / "s.json")
    with pytest.raises(InvalidConfig, match=r"s\.json"):
        ask(small, chat("[]"))


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "nothing"},
        {"$ref": "http://127.0.0.1:9/schema.json"},
        {"$ref": "file:///etc/hostname"},
    ],
)
def test_a_schema_is_not_fetched_from_anywhere(schema: dict[str, Any]) -> None:
    asked = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    with pytest.raises(InputError, match="response_format"):
        ask(stage("small", "schema"), chat("[]"), response_format=asked)


def test_without_the_package_it_says_what_to_install_before_anything_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "jsonschema_rs", None)
    with pytest.raises(MissingDependency, match="jsonschema-rs"):
        Acceptance("small", StageConfig(("schema",)), Thresholds())
    Acceptance("small", StageConfig(("nonempty",)), Thresholds())


def test_a_pattern_takes_no_more_than_linear_time() -> None:
    """With a backtracking matcher this one would not end."""
    fits = compile_schema({"type": "string", "pattern": "^(a+)+$"})
    assert not fits("a" * 5000 + "b")


def test_calls_of_tools_are_not_held_to_the_format_of_texts() -> None:
    called = chat(None, tool_calls=[{"id": "1", "type": "function"}])
    small = stage("small", "schema", "nonempty")
    assert ask(small, called, response_format=FORMAT).answered_by == {"answer": "small"}


@pytest.mark.parametrize("text", ["", " \n", None])
def test_an_answer_that_says_nothing_goes_on(text: str | None) -> None:
    answer = ask(stage("small", "nonempty"), chat(text))
    assert answer.steps[0].refused == {"answer": "empty"}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text("abA", max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["name", "n", "more"]), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(VALUES)
def test_the_check_agrees_with_the_slow_one(value: Any) -> None:
    slow = jsonschema.Draft202012Validator(SCHEMA).is_valid(value)
    assert compile_schema(SCHEMA)(json.loads(json.dumps(value))) == slow
