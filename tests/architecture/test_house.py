"""What the linters do not see: doors, names, sizes, and whether the documents tell the truth."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from typer.main import get_command

import descant
from descant.cli.app import build_app

ROOT = Path(__file__).parent.parent.parent
SOURCE = Path(descant.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))
ROOMS = sorted(path.name for path in SOURCE.iterdir() if (path / "__init__.py").exists())
FORBIDDEN_NAMES = re.compile(r"(manager|helper|util|common|misc|handler)s?($|_)")
# Opened past the door with a reason: the parts below are not for users of the room.
SIDE_DOORS = {
    ("schema", "errors"),  # one import for one error is how they are meant to be used
    ("monitoring", "metrics"),
    ("model", "embedded"),
    ("gateway", "ledger"),  # the books are read without the gateway
}


def imports(path: Path) -> list[str]:
    tree = ast.parse(path.read_text())
    return [
        node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("descant.")
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_another_room_is_entered_by_its_door(path: Path) -> None:
    room = path.relative_to(SOURCE).parts[0]
    for module in imports(path):
        parts = module.split(".")[1:]
        if len(parts) > 1 and parts[0] != room:
            assert (parts[0], parts[1]) in SIDE_DOORS, f"{path.name} imports {module}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_files_are_small_and_named_by_a_noun(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400
    assert not FORBIDDEN_NAMES.search(path.stem)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_lists_what_it_offers(room: str) -> None:
    if room == "cli":
        return
    tree = ast.parse((SOURCE / room / "__init__.py").read_text())
    names = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module != "__future__"
        for alias in node.names
    }
    listed = next(
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    )
    assert set(listed) == names


def test_the_map_names_every_room_and_only_rooms() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    drawn = set(re.findall(r"[├└]── (\w+)/", text))
    assert drawn == set(ROOMS)


def test_the_readme_names_only_commands_there_are() -> None:
    known = set(get_command(build_app()).commands)
    named = set(re.findall(r"^descant (\w+)", (ROOT / "README.md").read_text(), re.MULTILINE))
    assert named
    assert named <= known


@pytest.mark.parametrize("name", ["demo", "test", "check", "fix", "setup"])
def test_the_scripts_can_be_run(name: str) -> None:
    assert (ROOT / "scripts" / name).stat().st_mode & 0o111
