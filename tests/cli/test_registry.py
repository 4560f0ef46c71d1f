from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_app import run
from tests.registry.packages import WEIGHTS, package, weights_hash

FORCED = ("--force", "a test has no calls")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A registry of two versions of one adapter, and one of another."""
    monkeypatch.setenv("DESCANT_REGISTRY", str(tmp_path / "registry"))
    monkeypatch.setenv("DESCANT_USER", "ada")
    monkeypatch.chdir(tmp_path)
    for name, seed in (("empathy", 1), ("refund", 2)):
        package(tmp_path / "adapters" / name, seed, metrics={"macro_f1": 0.512345})
    package(tmp_path / "later", 3, parent=weights_hash(1))
    assert run("registry", "add", "adapters") == 0
    assert run("registry", "add", "later", "--name", "empathy", "--reason", "more calls") == 0
    return tmp_path


@pytest.fixture
def versions(place: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The two versions of ``empathy``, the older one first."""
    return [row["version"] for row in told(capsys, "registry", "list", "empathy", "--json")]


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    capsys.readouterr()
    assert run(*arguments) == 0
    return json.loads(capsys.readouterr().out)


def test_versions_are_listed_for_people_and_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("registry", "list") == 0
    out = capsys.readouterr().out
    assert "3 versions in" in out
    assert "macro_f1 0.512" in out
    rows = told(capsys, "registry", "list", "--json")
    assert [row["name"] for row in rows] == ["empathy", "empathy", "refund"]
    assert [row["parent"] for row in rows] == [None, weights_hash(1), None]


def test_an_alias_is_flipped_and_flipped_back(
    versions: list[str], capsys: pytest.CaptureFixture[str], place: Path
) -> None:
    old, new = versions
    (place / "report.json").write_text('{"gain": 0.03}')
    assert (
        run("promote", f"empathy@{old}", "--reason", "first", *FORCED, "--expect", "nothing") == 0
    )
    assert run("promote", f"empathy@{new}", "--to", "challenger", "--reason", "trained") == 0
    seen = ("--expect", old[:20], "--to", "fallback")
    assert run("promote", f"empathy@{old}", "--to", "fallback", "--reason", "safe") == 0
    assert run("promote", f"empathy@{old}", "--reason", "safe", *seen) == 0
    evidence = ("--evidence", "report.json")
    done = told(capsys, "promote", "empathy", "--reason", "better", *evidence, *FORCED, "--json")
    assert (done["before"], done["after"], done["alias"]) == (old, new, "champion")
    assert run("rollback", "empathy", "--reason", "complaints") == 0
    assert f"{new[:19]} → {old[:19]}" in capsys.readouterr().out
    trail = told(capsys, "registry", "log", "empathy", "--alias", "champion", "--json")
    assert [row["reason"] for row in trail] == ["first", "better", "complaints"]
    assert [row["evidence"] for row in trail] == [None, {"gain": 0.03}, None]
    assert {row["who"] for row in trail} == {"ada"}
    assert run("registry", "log") == 0
    out = capsys.readouterr().out
    assert "complaints" in out
    assert "empathy@champion" in out.replace("\n", "")


def test_mistakes_exit_with_2_and_say_what_to_do(
    versions: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("promote", "empathy", "--reason", "x", *FORCED) == 2
    assert "has no challenger" in capsys.readouterr().err
    assert run("rollback", "empathy", "--reason", "x") == 2
    assert "descant registry log empathy" in capsys.readouterr().err
    other = ("--expect", versions[1][:20])
    assert run("promote", f"empathy@{versions[0]}", "--reason", "x", *FORCED, *other) == 2
    assert "someone changed it" in capsys.readouterr().err
    assert run("registry", "list", "--registry", "nowhere") == 2
    assert "There is no registry" in capsys.readouterr().err
    assert run("registry", "add", "adapters", "--name", "one") == 2
    assert run("registry", "add", "nowhere") == 2
    assert run("registry", "attach", "refund", "nowhere.json", "--reason", "x") == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_version_is_shown_with_its_family_and_what_was_measured(
    versions: list[str], capsys: pytest.CaptureFixture[str], place: Path
) -> None:
    old, new = versions
    (place / "report.json").write_text('{"macro_f1": 0.75, "slices": {}}')
    assert run("registry", "attach", f"empathy@{new}", "report.json", "--reason", "nightly") == 0
    assert run("registry", "show", f"empathy@{new}") == 0
    out = capsys.readouterr().out
    assert f"empathy@{old[:19]} (weights {weights_hash(1)[:19]})" in out
    assert "macro_f1 0.75" in out
    shown = told(capsys, "registry", "show", f"empathy@{old}", "--json")
    assert shown["lineage"]["children"] == [f"empathy@{new}"]
    assert run("registry", "show", f"empathy@{old}") == 0
    assert "child" in capsys.readouterr().out


def test_damage_is_told_and_exits_with_1(
    versions: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("registry", "verify", "--clean") == 0
    assert "3 versions, 9 files (0.0 MB) and 3 changes: clean" in capsys.readouterr().out
    shown = told(capsys, "registry", "show", f"empathy@{versions[0]}", "--json")
    (Path(shown["folder"]) / WEIGHTS).unlink()
    (Path(shown["folder"]).parent / ".new-1").mkdir()
    assert run("registry", "verify") == 1
    out = capsys.readouterr().out
    assert "missing:" in out
    assert "unfinished writing: 1" in out
    assert run("registry", "verify", "--clean", "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["is_clean"], found["removed"]) == (False, [".new-1"])


def test_a_version_goes_from_one_registry_to_another(
    versions: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("registry", "export", f"empathy@{versions[1]}", "empathy.tar") == 0
    other = ("--registry", "other")
    assert run("registry", "import", "empathy.tar", "--name", "empathy-eu", *other) == 0
    [row] = told(capsys, "registry", "list", "--json", *other)
    assert (row["name"], row["version"]) == ("empathy-eu", versions[1])
    assert run("registry", "import", "later/manifest.json") == 2
    assert "descant registry export" in capsys.readouterr().err
