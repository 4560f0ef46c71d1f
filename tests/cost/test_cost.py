"""Bills, break-even and what they hang on; files of prices and measurements."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import date
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from descant.cost import (
    ApiPrice,
    Case,
    MachinePrice,
    MeasuredSpeed,
    Workload,
    compare_costs,
    is_old,
    load_prices,
    read_speed,
    render_cost_page,
    sensitivities,
)
from descant.schema.errors import InvalidConfig, InvalidData
from tests.cli.test_app import run

API = ApiPrice(read=1.0, written=4.0, as_of="2026-01-01", source="here", cached=0.5)
MACHINE = MachinePrice(per_hour=1.0, as_of="2026-01-01", source="here")
SPEED = MeasuredSpeed(tokens=1000, questions=10, reading_s=0.5, answers_s=0.5)
WORK = Workload(7200, tokens=1000, questions=10, question_tokens=50, answer_tokens=5, peak=1.0)


def test_a_bill_by_hand() -> None:
    found = compare_costs(WORK, SPEED, API, MACHINE, overhead_share=0.5)
    # 1,000 read once, 9 times from the cache, 500 of questions, 50 written.
    assert found.api_per_conversation == pytest.approx((1000 + 4500 + 500 + 200) / 1e6)
    assert found.api_all_at_once == pytest.approx((1000 + 500 + 200) / 1e6)
    # A second each, 300 an hour: one machine, 8.3 % busy, 36 a day.
    assert found.conversation_s == pytest.approx(1.0)
    assert (found.machines, found.utilisation) == (1, pytest.approx(1 / 12))
    assert found.own_per_conversation == pytest.approx(36 / 7200)
    assert found.api_one_more == pytest.approx((500 + 50 + 20) / 1e6)
    assert found.own_one_more == pytest.approx(0.05 / 3600 * 1.5)
    assert found.break_even.conversations_per_day == pytest.approx(36 / 0.0062)
    assert found.per_million(0.0062) == pytest.approx(6.2)


volumes = st.floats(1, 1e7)


@given(volumes, st.floats(0.01, 100), st.floats(1, 5), st.floats(1, 24))
def test_at_its_break_even_the_machine_costs_what_the_api_does(
    volume: float, per_hour: float, peak: float, busy: float
) -> None:
    work = replace(WORK, conversations_per_day=volume, peak=peak, busy_hours=busy)
    machine = replace(MACHINE, per_hour=per_hour)
    at = compare_costs(work, SPEED, API, machine).break_even.conversations_per_day
    if at is None:
        # Nor with machines that are full in the busiest hour.
        full = replace(work, conversations_per_day=3600 * 1000 * busy / peak)
        own = compare_costs(full, SPEED, API, machine).own_per_conversation
        assert own is not None
        assert own >= 0.0062 * 0.999
    else:
        found = compare_costs(replace(work, conversations_per_day=at), SPEED, API, machine)
        assert found.machines == 1
        assert found.own_per_conversation == pytest.approx(found.api_per_conversation)


@given(volumes)
def test_there_are_enough_machines_for_the_busiest_hour_and_none_too_many(volume: float) -> None:
    work = replace(WORK, conversations_per_day=volume, peak=2.0, busy_hours=8)
    found = compare_costs(work, SPEED, API, MACHINE)
    needed = volume / 8 * 2 * found.conversation_s / 3600
    assert found.machines >= needed - 1e-9
    assert found.machines == 1 or found.machines - 1 < needed
    assert 0 < found.utilisation <= 1 / 6 + 1e-9


def test_too_slow_is_no_price() -> None:
    found = compare_costs(replace(WORK, latency_s=0.5), SPEED, API, MACHINE)
    assert not found.is_quick_enough
    assert found.own_per_conversation is None
    assert found.ratio is None
    assert found.break_even.conversations_per_day is None


def test_what_moves_most_comes_first_and_leaves_the_rest_as_it_was() -> None:
    case = Case(WORK, SPEED, API, MACHINE)
    ratio = case.compare().ratio
    assert ratio is not None
    found = {each.name: each for each in sensitivities(case)}
    assert found["price of the machine"].half == pytest.approx(2 * ratio)
    assert found["price of the API"].twice == pytest.approx(2 * ratio)
    spans = [abs((each.half or 0) - (each.twice or 0)) for each in sensitivities(case)]
    assert spans == sorted(spans, reverse=True)


@pytest.mark.parametrize(
    "changes",
    [{"tokens": 0}, {"questions": 0}, {"busy_hours": 25}, {"busy_hours": 0}, {"peak": 0.5}]
    + [{"latency_s": math.nan}],
)
def test_a_workload_that_cannot_be_is_refused(changes: dict[str, float]) -> None:
    with pytest.raises(InvalidConfig) as caught:
        replace(WORK, **changes)  # type: ignore[arg-type]
    assert caught.value.field in changes


def test_the_price_list_that_comes_along_is_whole() -> None:
    prices = load_prices()
    assert prices.api_price("gpt-4o-mini").read > 0
    assert prices.machine_price("two-cores").per_hour > 0
    with pytest.raises(InvalidConfig, match="no price of 'gpt-4o-mni'") as caught:
        prices.api_price("gpt-4o-mni")
    assert "gpt-4o-mini" in str(caught.value.remedy)


def test_a_price_is_old_after_half_a_year() -> None:
    assert not is_old(MACHINE, date(2026, 6, 1))
    assert is_old(MACHINE, date(2026, 8, 1))


def test_a_price_list_with_mistakes_names_them_all(tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(
        'currency = "EUR"\n[machine.mine]\nper_hour = -1\nas_of = "soon"\nsource = "us"\nextra = 1\n'
    )
    with pytest.raises(InvalidConfig) as caught:
        load_prices(path)
    for told in ("per_hour", "as_of", "extra"):
        assert told in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"reading_s": 1, "fanout_s": "x"}'])
def test_what_is_no_measurement_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "fanout.json"
    path.write_text(text)
    with pytest.raises(InvalidData):
        read_speed(path)


def test_the_command_and_its_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measured, page = tmp_path / "fanout.json", tmp_path / "cost.html"
    figures = {"tokens": 1000, "adapters": 10, "reading_s": 0.5, "fanout_s": 1.0}
    measured.write_text(json.dumps(figures))
    assert run("cost", "--measured", str(measured), "--page", str(page), "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["conversation_s"] == pytest.approx(2.0)
    HTMLParser().feed(page.read_text())
    assert "The API costs" in page.read_text()
    assert run("cost", "--measured", str(measured), "--latency-s", "0.1") == 0
    assert "too slow" in capsys.readouterr().out
    assert run("cost") == 2
    assert "descant bench fanout" in capsys.readouterr().err
    assert run("cost", "--show-prices") == 0
    assert "[api.gpt-4o-mini]" in capsys.readouterr().out


def test_the_page_says_when_a_machine_is_too_slow() -> None:
    case = Case(replace(WORK, latency_s=0.1), SPEED, API, MACHINE)
    page = render_cost_page(case, "EUR", ("api", "machine"))
    assert "longer than the 0.1 s it may take" in page
