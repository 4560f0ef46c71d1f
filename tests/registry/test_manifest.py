from __future__ import annotations

import errno
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from descant.registry import MANIFEST_FILE, calibration_of, read_manifest, write_manifest
from descant.schema import Calibration, TemperatureScaling
from descant.schema.errors import InvalidAdapter, StorageFull
from tests.registry.adapters import HASH, WARM, manifest

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
tables = st.dictionaries(text, values, max_size=3)


@settings(deadline=None, max_examples=50)
@given(recipe=tables, metrics=tables, parent=st.sampled_from([None, HASH]))
def test_what_is_written_is_what_is_read(
    recipe: dict[str, Any], metrics: dict[str, Any], parent: str | None
) -> None:
    written = manifest(recipe=recipe, metrics=metrics, parent=parent)
    with tempfile.TemporaryDirectory() as folder:
        write_manifest(Path(folder), written)
        assert read_manifest(Path(folder)) == written


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("base_hash", ""),
        ("base_hash", None),
        ("base_name", 7),
        ("data_hash", "md5:0123456789abcdef"),
        ("content_hash", "sha256:XYZ"),
        ("recipe", []),
        ("metrics", None),
        ("indicator", "greeting"),
        ("indicator.name", None),
        ("indicator.labels", []),
        ("indicator.labels", ["no", 1]),
        ("indicator.positive", "yes"),
        ("indicator.colour", "red"),
        ("created", "yesterday"),
        ("created", 0),
        ("parent", "other"),
        ("format_version", 2),
        ("format_version", True),
        ("owner", "me"),
        ("calibration.temperature", 0),
        ("calibration.method", "platt"),
    ],
)
def test_a_wrong_field_is_refused_by_file_and_field(
    tmp_path: Path, field: str, value: object
) -> None:
    write_manifest(tmp_path, manifest(calibration=WARM))
    path = tmp_path / MANIFEST_FILE
    table = json.loads(path.read_text())
    outer, _, inner = field.partition(".")
    if inner:
        table[outer][inner] = value
    else:
        table[outer] = value
    path.write_text(json.dumps(table))
    with pytest.raises(InvalidAdapter, match=r"manifest\.json") as caught:
        read_manifest(tmp_path)
    assert caught.value.field == field


def test_a_calibration_is_read_and_those_without_stay_as_they_are(tmp_path: Path) -> None:
    write_manifest(tmp_path, manifest(calibration=WARM))
    warm = Calibration(TemperatureScaling(2.0), 40, HASH)
    assert calibration_of(read_manifest(tmp_path)) == warm
    path = tmp_path / MANIFEST_FILE
    table = json.loads(path.read_text())
    del table["calibration"]
    path.write_text(json.dumps(table))
    assert read_manifest(tmp_path) == manifest()
    assert calibration_of(manifest()) is None


def test_a_calibration_for_other_labels_is_refused() -> None:
    curve = {"raw": [0.5], "calibrated": [0.5]}
    wrong = {**WARM, "method": "isotonic", "curves": {"maybe": curve}}
    del wrong["temperature"]
    with pytest.raises(InvalidAdapter) as caught:
        manifest(calibration=wrong)
    assert caught.value.field == "calibration.curves"


@pytest.mark.parametrize("field", ["base_hash", "indicator", "created", "parent", "format_version"])
def test_a_missing_field_is_refused_by_file_and_field(tmp_path: Path, field: str) -> None:
    write_manifest(tmp_path, manifest())
    path = tmp_path / MANIFEST_FILE
    table = json.loads(path.read_text())
    del table[field]
    path.write_text(json.dumps(table))
    with pytest.raises(InvalidAdapter, match=r"manifest\.json") as caught:
        read_manifest(tmp_path)
    assert caught.value.field == field


@pytest.mark.parametrize(
    "content", [b"", b"[]", b'{"a"', b"\xff\xfe", b"[" * 100_000, b'{"metrics": NaN}']
)
def test_what_is_not_a_json_object_is_refused_by_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / MANIFEST_FILE).write_bytes(content)
    with pytest.raises(InvalidAdapter, match=r"manifest\.json"):
        read_manifest(tmp_path)


def test_a_number_that_is_not_json_is_refused_by_file(tmp_path: Path) -> None:
    write_manifest(tmp_path, manifest(metrics={"macro_f1": 0.5}))
    path = tmp_path / MANIFEST_FILE
    path.write_text(path.read_text().replace("0.5", "NaN"))
    with pytest.raises(InvalidAdapter, match=r"manifest\.json: not JSON: NaN"):
        read_manifest(tmp_path)


def test_a_missing_manifest_is_refused_by_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidAdapter, match=r"manifest\.json: cannot be read"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, "\ud800"])
def test_a_metric_that_is_not_json_is_not_written_and_the_old_manifest_stays(
    tmp_path: Path, value: object
) -> None:
    write_manifest(tmp_path, manifest())
    with pytest.raises(InvalidAdapter, match="cannot be written as JSON"):
        write_manifest(tmp_path, manifest(metrics={"f1": value}))
    assert read_manifest(tmp_path) == manifest()


def test_a_full_disk_keeps_the_old_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_manifest(tmp_path, manifest())

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageFull):
        write_manifest(tmp_path, manifest(base_name="other"))
    assert read_manifest(tmp_path) == manifest()
