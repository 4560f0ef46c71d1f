from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from descant import __version__
from descant.cli import main
from descant.cli.app import _reported_errors
from descant.schema.errors import DescantError, InvalidConfig, MissingDependency, StorageFull

COMMANDS = (
    "demo",
    "import",
    "redact",
    "data",
    "distill",
    "train",
    "calibrate",
    "evaluate",
    "score",
    "serve",
    "bench",
    "models",
    "adapters",
    "promote",
    "rollback",
    "registry",
)


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    return int(caught.value.code or 0)


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    out = capsys.readouterr().out
    for command in COMMANDS:
        assert f" {command} " in out


@pytest.mark.parametrize(
    "command",
    [
        ["demo"],
        ["redact"],
        ["data", "check"],
        ["import"],
        ["train"],
        ["calibrate"],
        ["train", "init"],
        ["distill"],
        ["evaluate"],
        ["score"],
        ["serve"],
        ["adapters"],
        ["bench", "fanout"],
        ["bench", "train"],
        ["bench", "perplexity"],
        ["models", "list"],
        ["models", "unpack"],
        ["models", "where"],
        ["promote"],
        ["rollback"],
        *(["registry", name] for name in ("add", "list", "show", "log", "attach")),
        *(["registry", name] for name in ("verify", "export", "import")),
    ],
)
def test_every_command_shows_an_example(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*command, "--help") == 0
    assert "Example:" in capsys.readouterr().out


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom descant.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'sklearn', 'fastapi', 'tokenizers', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    # Which shell it is for, it learns from the process that calls it.
    command = shlex.join([sys.executable, "-c", code]) + "; exit"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out == f"descant {__version__}\n"


def test_a_mistake_in_the_command_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("sing") == 2
    assert run("score") == 2
    assert "score" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidConfig("Broken.", remedy="Mend it."), 2),
        (MissingDependency("Broken.", remedy="Mend it."), 3),
        (StorageFull("Broken.", remedy="Mend it."), 1),
        (KeyboardInterrupt(), 130),
        (ModuleNotFoundError("no", name="torch"), 3),
    ],
)
def test_errors_become_exit_codes(
    error: BaseException, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit) as caught, _reported_errors():
        raise error
    assert caught.value.exit_code == code
    out, err = capsys.readouterr()
    assert out == ""
    if isinstance(error, DescantError):
        assert err == "Error: Broken.\nMend it.\n"


@pytest.mark.parametrize("error", [ValueError("bug"), ModuleNotFoundError("x", name="descant.x")])
def test_our_own_bugs_keep_their_traceback(error: Exception) -> None:
    with pytest.raises(type(error)), _reported_errors():
        raise error


def test_files_that_are_not_there_exit_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = str(tmp_path / "missing")
    assert run("adapters", missing) == 2
    assert run("score", missing, "--adapters", missing) == 2
    assert run("evaluate", missing, "--indicators", missing) == 2
    assert run("train", missing) == 2
    assert run("train", "init", missing) == 2
    assert run("models", "where", "gpt-9") == 2
    err = capsys.readouterr().err
    assert err.count("Error: ") == 6
    assert "Traceback" not in err


def test_completion_can_be_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    # Which shell this runs under, if any, is not what is tested.
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    code = "from descant.cli import main; main(['--show-completion', 'bash'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "_DESCANT_COMPLETE" in done.stdout, done.stderr


def test_models_list_is_json_for_programs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DESCANT_CACHE", str(tmp_path))
    assert run("models", "list", "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["name"] == "smollm2-135m-instruct"
    assert row["is_unpacked"] is False
    assert run("models", "where") == 2
    Path(row["folder"]).mkdir(parents=True)
    (Path(row["folder"]) / "config.json").write_text("{}")
    capsys.readouterr()
    assert run("models", "where") == 0
    assert capsys.readouterr().out.strip() == row["folder"]
