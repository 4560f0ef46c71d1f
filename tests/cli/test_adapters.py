from __future__ import annotations

import json
from pathlib import Path

import pytest

from descant.registry import Manifest, write_manifest
from tests.cli.test_app import run


def write_adapter(folder: Path, name: str, rank: object = 16) -> Path:
    path = folder / name
    path.mkdir(parents=True)
    (path / "adapter_config.json").write_text(json.dumps({"r": rank}))
    return path


def write_whole_adapter(folder: Path, name: str) -> None:
    manifest = Manifest(
        base_hash="sha256:00",
        base_name="tiny",
        data_hash="sha256:" + "1" * 64,
        recipe={"rank": 16},
        indicator={"name": name, "labels": ["no", "yes"], "positive": ["yes"]},
        metrics={"loss": 0.123456, "labels": {"no": 7, "yes": 9}},
        created="2031-05-06T00:00:00+00:00",
        content_hash="sha256:" + "2" * 64,
    )
    write_manifest(write_adapter(folder, name), manifest)


def test_adapters_are_listed_with_what_their_manifest_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_whole_adapter(tmp_path, "polite")
    write_adapter(tmp_path, "foreign", rank=8)
    assert run("adapters", str(tmp_path)) == 0
    out = capsys.readouterr().out
    assert "2 adapters in" in out
    assert " 222222222222 " in out
    assert " loss 0.123 " in out
    assert run("adapters", str(tmp_path), "--json") == 0
    foreign, polite = json.loads(capsys.readouterr().out)
    assert (foreign["name"], foreign["rank"], foreign["content_hash"]) == ("foreign", 8, None)
    assert (polite["labels"], polite["base_name"]) == (["no", "yes"], "tiny")


def test_a_broken_manifest_is_shown_and_hides_no_other_adapter(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_whole_adapter(tmp_path, "polite")
    (write_adapter(tmp_path, "broken", rank="?") / "manifest.json").write_text("{")
    assert run("adapters", str(tmp_path), "--json") == 0
    broken, polite = json.loads(capsys.readouterr().out)
    assert "manifest.json" in broken["problem"]
    assert broken["rank"] is None
    assert polite["problem"] is None
    assert run("adapters", str(tmp_path)) == 0
    assert "broken" in capsys.readouterr().out
