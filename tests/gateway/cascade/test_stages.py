"""What a file may say of a cascade, its thresholds, and the queue for people."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from descant.configuration import read_toml_record
from descant.gateway.cascade import (
    CascadeConfig,
    ModelThresholds,
    ReviewQueue,
    StageConfig,
    Thresholds,
    UnitThresholds,
    load_thresholds,
)
from descant.schema.errors import InvalidConfig, StorageFull
from tests.gateway.cascade.scripted import call, chat


@dataclass(frozen=True)
class Whole:
    cascades: dict[str, CascadeConfig]


def read(folder: Path, text: str) -> CascadeConfig:
    (folder / "gateway.toml").write_text(text)
    return read_toml_record(folder / "gateway.toml", Whole, "file", "").cascades["refund"]


GOOD = """
[cascades.refund]
thresholds = "t.toml"

[cascades.refund.stages.small]
accept = ["confidence", "nonempty"]
timeout_s = 2.0

[cascades.refund.stages.large]
"""


def test_a_file_becomes_stages(tmp_path: Path) -> None:
    (tmp_path / "t.toml").write_text("")
    config = read(tmp_path, GOOD)
    assert config.thresholds == tmp_path / "t.toml"
    assert list(config.stages.items()) == [
        ("small", StageConfig(("confidence", "nonempty"), timeout_s=2.0)),
        ("large", StageConfig()),
    ]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (('"confidence", "nonempty"', ""), "takes every answer"),
        (("stages.large]", "stages.small]"), "small"),
        (("stages.large]", 'stages.large]\nacept = ["nonempty"]'), "toml:10: .*acept"),
        (("stages.large]", "stages.large]\nmin_confidence = 0.5"), "toml:10: .*min_confidence"),
        (('thresholds = "t.toml"', ""), "no threshold"),
        (('thresholds = "t.toml"', 'thresholds = "u.toml"'), "u.toml"),
        (('thresholds = "t.toml"', 'thresholds = "t.toml"\nunsettled = "human"'), "review_file"),
        (("timeout_s = 2.0", "timeout_s = 0"), "timeout_s"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, change: tuple[str, str], named: str) -> None:
    (tmp_path / "t.toml").write_text("")
    with pytest.raises(InvalidConfig, match=named):
        read(tmp_path, GOOD.replace(*change))


def test_no_stage_is_no_cascade() -> None:
    with pytest.raises(InvalidConfig):
        CascadeConfig({})


names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=5)
shares = st.floats(0, 1)


@settings(deadline=None)
@given(st.dictionaries(names, st.tuples(names, shares, st.dictionaries(names, shares, max_size=2))))
def test_what_is_written_is_read_again(
    table: dict[str, tuple[str, float, dict[str, float]]],
) -> None:
    known = Thresholds(
        {
            unit: UnitThresholds({model: ModelThresholds(least, labels, (0.1, 0.9), (0.2, 0.8))})
            for unit, (model, least, labels) in table.items()
        }
    )
    path = Path(os.environ.get("TMPDIR", "/tmp")) / f"thresholds-{os.getpid()}.toml"
    try:
        path.write_bytes(known.to_toml(["at most 2 % wrong", *table]).encode())
        assert load_thresholds(path) == known
    finally:
        path.unlink()


def test_a_threshold_out_of_range_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "t.toml").write_text("[units.a.models.m]\nthreshold = 1.5\n")
    with pytest.raises(InvalidConfig, match=r"t\.toml:2"):
        load_thresholds(tmp_path / "t.toml")


def test_a_curve_that_falls_is_refused(tmp_path: Path) -> None:
    text = "[units.a.models.m]\nthreshold = 0.5\nraw = [0.1, 0.2]\ncalibrated = [0.9, 0.1]\n"
    (tmp_path / "t.toml").write_text(text)
    with pytest.raises(InvalidConfig, match="fall"):
        load_thresholds(tmp_path / "t.toml")


def test_the_queue_is_appended_to_and_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "queue.jsonl"
    for number in range(3):
        queue = ReviewQueue(path, lambda: datetime(2026, 1, 2, tzinfo=UTC))
        queue.append(call("chat", messages=[f"m{number}"]), chat("hm"), ("answer",))
        queue.close()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["request"]["messages"] for line in lines] == [["m0"], ["m1"], ["m2"]]
    assert lines[0]["time"] == "2026-01-02T00:00:00+00:00"
    assert (lines[0]["tenant"], lines[0]["units"]) == ("t", ["answer"])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_two_queues_on_one_file_lose_nothing(tmp_path: Path) -> None:
    one, two = ReviewQueue(tmp_path / "q"), ReviewQueue(tmp_path / "q")
    for _ in range(50):
        one.append(call("chat", text="x" * 9000), chat("1"), ("answer",))
        two.append(call("chat", text="y" * 9000), chat("2"), ("answer",))
    one.close()
    two.close()
    assert len([json.loads(line) for line in (tmp_path / "q").read_text().splitlines()]) == 100


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
def test_a_full_disk_is_said() -> None:
    queue = ReviewQueue(Path("/dev/full"))
    with pytest.raises(StorageFull):
        queue.append(call("chat", messages=[]), chat("hm"), ("answer",))
    queue.close()


def test_a_queue_that_cannot_be_written_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match="review"):
        ReviewQueue(tmp_path / "none" / "review.jsonl")
