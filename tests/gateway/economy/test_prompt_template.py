from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from descant.gateway.economy import PromptLibrary
from descant.schema.errors import InputError, InvalidConfig, NotFound

TEXT = """
[[messages]]
role = "system"
content = "You answer for {{shop}}. JSON: {\\"a\\": 1} { { shop } }"

[[messages]]
role = "user"
content = "{{ question }}"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "refund@3.toml").write_text(TEXT)
    return tmp_path


def test_variables_are_put_in(folder: Path) -> None:
    template = PromptLibrary.read(folder).get("refund@3")
    assert template.variables == {"shop", "question"}
    assert template.render({"shop": "Ada's", "question": "Why?"}) == [
        {"role": "system", "content": 'You answer for Ada\'s. JSON: {"a": 1} { { shop } }'},
        {"role": "user", "content": "Why?"},
    ]


def test_no_value_brings_a_variable_of_its_own(folder: Path) -> None:
    template = PromptLibrary.read(folder).get("refund@3")
    rendered = template.render({"shop": "secret", "question": r"{{shop}} \1 \g<0>"})
    assert rendered[1]["content"] == r"{{shop}} \1 \g<0>"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"shop": "a"}, "'question' is missing"),
        ({"shop": "a", "question": "b", "c": "d"}, "'c' is not one of its variables"),
        ({"shop": "a", "question": 5}, "must be a text"),
    ],
)
def test_undefined_is_an_error(folder: Path, values: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        PromptLibrary.read(folder).get("refund@3").render(values)


def test_a_changed_text_has_another_hash_and_a_comment_does_not_change_it(folder: Path) -> None:
    path = folder / "refund@3.toml"
    before = PromptLibrary.read(folder).get("refund@3").identity
    path.write_text("# Better.\n" + TEXT)
    assert PromptLibrary.read(folder).get("refund@3").identity == before
    path.write_text(TEXT.replace("answer", "reply"))
    changed = PromptLibrary.read(folder).get("refund@3").identity
    assert changed != before
    assert changed.startswith("refund@3:")


def test_versions_stand_side_by_side_and_an_unknown_one_is_named(folder: Path) -> None:
    (folder / "refund@4.toml").write_text(TEXT)
    library = PromptLibrary.read(folder)
    assert library.names() == ("refund@3", "refund@4")
    with pytest.raises(NotFound, match="refund@3, refund@4"):
        library.get("refund@5")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("refund.toml", TEXT),
        ("refund@.toml", TEXT),
        ("a@1.toml", "messages = []"),
        ("a@1.toml", ""),
        ("a@1.toml", "no toml"),
        ("a@1.toml", TEXT.replace('"user"', '"robot"')),
        ("a@1.toml", TEXT + "name = 'x'"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InvalidConfig, match=name.split(".")[0]):
        PromptLibrary.read(tmp_path)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match="nowhere"):
        PromptLibrary.read(tmp_path / "nowhere")
