"""Lines of keys, against documents whose lines are known and against what tomllib reads in them."""

from __future__ import annotations

import tomllib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from descant.configuration.lines import KeyPath, key_lines

SCALARS = (
    "1",
    "-0.5e3",
    "true",
    "nan",
    "1979-05-27T07:32:00Z",
    "1979-05-27 07:32:00",
    '"a # b = [c] {d"',
    r'"esc \" ] } \\"',
    "'C:\\dir\\'",
    '""',
    '""""""',
    '"""\nkey = 1\n[table] # no comment\n"""',
    '"""a\\"""b"""""',
    '"""two \\\n   lines"""',
    "'''\n[[x]]\ny = 2'''",
    "''''a'''''",
)
GAPS = ("", " ", "\n", " # ] } comment\n\t")


class Document:
    """A text in the making, and on which line each key went into it."""

    def __init__(self, draw: st.DrawFn):
        self.draw = draw
        self.text = ""
        self.expected: dict[KeyPath, int] = {}
        self.num_names = 0

    def write(self, text: str) -> None:
        self.text += text

    def note(self, path: KeyPath) -> None:
        self.expected[path] = self.text.count("\n") + 1

    def gap(self) -> None:
        self.write(self.draw(st.sampled_from(GAPS)))

    def name(self) -> str:
        """Write a name that was not there before, in one of the ways to write it."""
        self.num_names += 1
        name, written = self.draw(
            st.sampled_from(
                [
                    (f"k{self.num_names}", f"k{self.num_names}"),
                    (f"{self.num_names}", f"{self.num_names}"),
                    (f"k.[{self.num_names}] #", f'"k.[{self.num_names}] #"'),
                    (f'k"{self.num_names}', f'"k\\"{self.num_names}"'),
                    (f"\u00e9={self.num_names}", f'"\\u00e9={self.num_names}"'),
                    (f"l={self.num_names}", f"'l={self.num_names}'"),
                ]
            )
        )
        self.write(written)
        return name

    def key(self, parent: KeyPath) -> KeyPath:
        path = parent
        for at in range(self.draw(st.integers(1, 3))):
            self.write(" . " if at else "")
            path = (*path, self.name())
            self.note(path)
        return path

    def pair(self, parent: KeyPath, depth: int) -> None:
        path = self.key(parent)
        self.write(self.draw(st.sampled_from(["=", " = ", "\t=  "])))
        self.value(path, depth)

    def value(self, path: KeyPath, depth: int) -> None:
        kind = self.draw(st.sampled_from(["scalar", "array", "table"] if depth else ["scalar"]))
        count = self.draw(st.integers(0, 3))
        if kind == "scalar":
            self.write(self.draw(st.sampled_from(SCALARS)))
        elif kind == "array":
            self.array(path, count, depth - 1)
        else:
            self.write("{")
            for at in range(count):
                self.write(", " if at else " ")
                self.pair(path, depth - 1)
            self.write(" }")

    def array(self, path: KeyPath, count: int, depth: int) -> None:
        self.write("[")
        for place in range(count):
            self.gap()
            self.note((*path, place))
            self.value((*path, place), depth)
            self.gap()
            self.write(",")
        self.gap()
        self.write("]")

    def pairs(self, table: KeyPath) -> None:
        for _ in range(self.draw(st.integers(0, 3))):
            self.pair(table, 2)
            self.write(self.draw(st.sampled_from(["\n", "  # comment\n", "\n\n"])))

    def table(self, parent: KeyPath, spelled: str) -> None:
        self.write(f"[{spelled}")
        path = self.key(parent)
        self.write("]\n")
        self.pairs(path)

    def array_of_tables(self) -> None:
        start = len(self.text)
        spelled = path = None
        for place in range(self.draw(st.integers(1, 3))):
            if path is None:
                self.write("[[")
                path = self.key(())
                spelled = self.text[start + 2 :]
            else:
                self.write(f"[[{spelled}")
            self.note((*path, place))
            self.write("]]\n")
            self.pairs((*path, place))
            if self.draw(st.booleans()):
                self.table((*path, place), f"{spelled}.")


@st.composite
def documents(draw: st.DrawFn) -> Document:
    document = Document(draw)
    document.gap()
    document.pairs(())
    for is_array in draw(st.lists(st.booleans(), max_size=4)):
        if is_array:
            document.array_of_tables()
        else:
            document.table((), " ")
    return document


def paths(value: Any, path: KeyPath = ()) -> set[KeyPath]:
    """Return every key and place in what tomllib read."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    found: set[KeyPath] = set()
    for key, item in inner:
        found |= {(*path, key)}
        if isinstance(item, dict | list):
            found |= paths(item, (*path, key))
    return found


@given(documents())
def test_every_key_is_found_on_its_line(document: Document) -> None:
    assert paths(tomllib.loads(document.text)) == set(document.expected)
    assert key_lines(document.text) == document.expected
    assert key_lines(document.text.replace("\n", "\r\n")) == document.expected


def test_a_table_named_before_it_is_defined_stands_where_it_is_defined() -> None:
    lines = key_lines("[a.b]\nc = 1\n[a]\nd = 2\n")
    assert lines == {("a",): 3, ("a", "b"): 1, ("a", "b", "c"): 2, ("a", "d"): 4}


def test_keys_below_an_array_of_tables_belong_to_its_last_one() -> None:
    text = "[[a]]\n[[a.b]]\n[[a.b]]\nx = 1\n[[a]]\n[[a.b]]\ny = 2\n"
    assert paths(tomllib.loads(text)) == set(key_lines(text))
    assert key_lines(text)["a", 0, "b", 1, "x"] == 4
    assert key_lines(text)["a", 1, "b", 0, "y"] == 7


def test_nothing_has_no_keys() -> None:
    assert key_lines("") == key_lines("# only this") == {}
