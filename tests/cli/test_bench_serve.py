from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from descant.adapters import AdapterLibrary, LibraryConfig
from descant.cli import bench_serve
from descant.cli.bench_decode import RequestMaker, time_decoding, time_reading
from descant.cli.bench_part import Part
from descant.cli.bench_serve import ServeConfig, ServeRow, measure_serving
from descant.cli.bench_traffic import (
    FirstUses,
    TrafficConfig,
    draw_names,
    make_resident,
    run_traffic,
    write_copies,
)
from descant.engine import Engine, EngineConfig, bytes_per_adapter
from descant.model import LoraAdapter, load_adapter
from descant.schema.errors import InvalidConfig
from tests.cli.test_app import run
from tests.cli.tiny_folder import write_model
from tests.tiny import INVOCATION, tiny_adapter, tiny_config, tiny_model

KEYS = ["name", "batch", "tokens", "ours_tokens_per_s", "peer", "peer_tokens_per_s", "ratio"]
TRAFFIC = TrafficConfig(
    registered=6, in_pool=3, requests=9, in_flight=2, prompt_tokens=9, output_tokens=3
)
SMALL = ServeConfig(
    prompt_tokens=12,
    output_tokens=5,
    batches=(1, 3),
    prefill_tokens=(40,),
    adapters=((2, 4),),
    rank=2,
    traffic=TRAFFIC,
)


def ticking() -> Callable[[], float]:
    """A clock that goes on by a second each time it is read: tokens a second are tokens."""
    return map(float, itertools.count()).__next__


def new_engine(max_step_tokens: int = 2048, slots: int = 8) -> Engine:
    model = tiny_model()
    adapter_bytes = slots * bytes_per_adapter(model.config, 4, model.dtype, model.device)
    config = EngineConfig(
        kv_cache_bytes=1 << 20, max_step_tokens=max_step_tokens, adapter_bytes=adapter_bytes
    )
    return Engine(model, "sha256:base", config)


def new_maker() -> RequestMaker:
    return RequestMaker(tiny_config().vocab_size, INVOCATION)


def test_requests_end_in_the_invocation_and_share_nothing() -> None:
    maker = new_maker()
    requests = [maker.request(20, 3) for _ in range(4)]
    assert all(len(request.prompt_ids) == 20 for request in requests)
    assert all(request.prompt_ids[-len(INVOCATION) :] == INVOCATION for request in requests)
    assert len({request.salt for request in requests}) == 4
    engine = new_engine()
    engine.generate(requests)
    assert engine.stats().prompt_tokens_cached == 0


def test_decoding_counts_the_tokens_behind_the_first_ones() -> None:
    maker = new_maker()
    pace = time_decoding(new_engine(), [maker.request(10, 5) for _ in range(3)], ticking())
    assert (pace.tokens, pace.time_s) == (3 * 4, 1.0)


def test_decoding_is_not_timed_before_the_last_request_has_begun() -> None:
    # 11 tokens a step: one token of the first, then the second's prompt.
    engine, maker = new_engine(max_step_tokens=11), new_maker()
    pace = time_decoding(engine, [maker.request(10, 8) for _ in range(2)], ticking())
    # Step 1 reads the first prompt and a token of the second, step 2 the rest: the first has two
    # tokens when both have begun, and six to go.
    assert pace.tokens == 2 * 6
    assert engine.is_idle


def test_a_batch_that_is_never_full_is_refused() -> None:
    maker = new_maker()
    requests = [maker.request(10, 2) for _ in range(8)]
    with pytest.raises(InvalidConfig, match="before the last one") as caught:
        time_decoding(new_engine(max_step_tokens=10), requests, ticking())
    assert caught.value.field == "output_tokens"


def test_reading_counts_the_prompt() -> None:
    engine = new_engine(max_step_tokens=16)
    pace = time_reading(engine, new_maker().request(50, 4), ticking())
    assert (pace.tokens, pace.time_s) == (50, 1.0)
    assert engine.is_idle


def test_copies_are_different_adapters_over_one_file(tmp_path: Path) -> None:
    config = tiny_config()
    names = write_copies(tmp_path, tiny_adapter(config, 1), 5)
    adapters = [load_adapter(tmp_path / name, config) for name in names]
    assert len({adapter.content_hash for adapter in adapters}) == len(names) == 5
    inodes = {(tmp_path / name / "adapter_model.safetensors").stat().st_ino for name in names}
    assert len(inodes) == 1


def test_traffic_follows_zipfs_law() -> None:
    config = TrafficConfig(requests=20_000)
    names = [str(place) for place in range(1, 101)]
    counts = Counter(draw_names(names, config, random.Random(1)))
    share = 1 / sum(1 / place for place in range(1, 101))
    for place in (1, 2, 10):
        expected = 20_000 * share / place
        assert counts[str(place)] == pytest.approx(expected, rel=0.2)


@pytest.mark.parametrize("changes", [{"requests": 0}, {"in_flight": 61}])
def test_traffic_that_cannot_be_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidConfig):
        TrafficConfig(**changes)


def test_traffic_over_more_adapters_than_slots(tmp_path: Path) -> None:
    engine = new_engine(slots=TRAFFIC.in_pool)
    model = engine.model
    names = write_copies(tmp_path, tiny_adapter(model.config, 1), TRAFFIC.registered)
    library = AdapterLibrary(
        lambda folder: load_adapter(folder, model.config), LibraryConfig(folders=(tmp_path,))
    )
    first_uses = FirstUses(engine, library, ticking())
    asked = names + names[:3]
    pace = run_traffic(engine, first_uses.provide, asked, TRAFFIC, new_maker(), ticking())
    assert pace.tokens == len(asked) * TRAFFIC.output_tokens
    assert len(first_uses.seconds) == library.stats().loads == TRAFFIC.registered
    stats = engine.stats()
    assert stats.adapters_active == TRAFFIC.in_pool
    # Six first uses, and the first three again after they lost their slots.
    assert stats.adapter_activations == len(asked)
    engine.adapters.check_integrity()


def test_resident_adapters_need_as_many_slots() -> None:
    adapters: list[LoraAdapter] = [tiny_adapter(tiny_config(), seed) for seed in range(4)]
    engine = new_engine(slots=4)
    make_resident(engine, adapters)
    assert engine.stats().adapters_active == 4
    assert engine.stats().adapters_used == 0
    with pytest.raises(InvalidConfig, match="slots"):
        make_resident(new_engine(slots=3), adapters)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    model = write_model(tmp_path_factory.mktemp("model"))
    notes: list[str] = []
    found = measure_serving(str(model), tuple(Part), 2, SMALL, ticking(), notes.append)
    assert sum("warming up" in note for note in notes) == len(found) - 1
    return [row.to_json() for row in found]


def test_every_row_has_the_same_keys(rows: list[dict[str, Any]]) -> None:
    assert all(list(row) == KEYS for row in rows)


def test_rows_say_what_was_done_and_count_it(rows: list[dict[str, Any]]) -> None:
    by_name = {(row["name"], row["batch"], row["tokens"]): row for row in rows}
    counted = {key: row["ours_tokens_per_s"] for key, row in by_name.items()}
    traffic = "Zipf traffic, 6 adapters, 3 in the pool"
    distinct = len(set(draw_names(list("abcdef"), TRAFFIC, random.Random(7))))
    assert counted == {
        ("base decode", 1, 5): 4,
        ("base decode", 3, 5): 3 * 4,
        ("base prefill", 1, 40): 40,
        ("decode, 2 adapters", 4, 5): 4 * 4,
        # The ticking clock is read twice more for every first use.
        (traffic, 2, 3): pytest.approx(9 * 3 / (1 + 2 * distinct)),
        ("first use of an adapter, p99 in seconds", 1, 0): 1.0,
    }
    peers = {row["name"]: (row["peer"], row["peer_tokens_per_s"]) for row in rows}
    assert peers["base decode"] == peers["base prefill"] == (None, None)
    assert peers["decode, 2 adapters"] == ("descant base", 4 * 4)
    assert peers[traffic] == ("descant, all resident", 9 * 3)
    assert by_name["decode, 2 adapters", 4, 5]["ratio"] == 1.0
    assert by_name["base decode", 1, 5]["ratio"] is None


def test_the_command_measures_the_parts_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--model", str(write_model(tmp_path)), "--registered", "70", "--requests", "3"]
    options += ["--part", "library", "--runs", "1", "--quantization", "int8"]
    assert run("bench", "serve", *options, "--json") == 0
    out, err = capsys.readouterr()
    rows = json.loads(out)
    assert [row["name"].split(",")[0] for row in rows] == [
        "Zipf traffic",
        "first use of an adapter",
    ]
    assert all(list(row) == KEYS for row in rows)
    assert "writing 70 adapters" in err


def test_the_command_passes_what_was_asked_and_prints_a_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[tuple[Any, ...]] = []

    def measure(*given: Any) -> list[ServeRow]:
        calls.append(given)
        return [ServeRow("base decode, int8", 8, 64, 1234.5678)]

    monkeypatch.setattr(bench_serve, "measure_serving", measure)
    options = ["--tokens", "64", "--part", "base", "--quantization", "int8", "--model", "tiny"]
    assert run("bench", "serve", *options) == 0
    model, parts, runs, config, *_, quantization = calls[0]
    assert (model, parts, runs, quantization) == ("tiny", (Part.BASE,), 3, "int8")
    assert config.output_tokens == 64
    assert "1,234.568" in capsys.readouterr().out
