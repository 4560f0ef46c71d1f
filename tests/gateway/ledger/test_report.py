from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, date, datetime
from math import ceil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from descant.gateway.call import Usage
from descant.gateway.ledger import (
    DIMENSIONS,
    Dimension,
    Selection,
    UsageRecord,
    UsageRow,
    usage_records,
    usage_rows,
)
from tests.gateway.ledger.books import NOON_S, database, record, write

DAY_S = 86_400


def report(
    place: str, by: Sequence[Dimension], selection: Selection | None = None
) -> list[UsageRow]:
    with database(place) as opened, opened.reading() as connection:
        return usage_rows(connection, selection or Selection(), by)


def when(each: UsageRecord) -> str:
    return datetime.fromtimestamp(each.time_s, UTC).date().isoformat()


def dimension(each: UsageRecord, name: Dimension) -> Any:
    special = {"day": when(each), "month": when(each)[:7], "adapter": each.adapter_hash}
    return special[name] if name in special else getattr(each, name)


def percentile(values: list[float], percent: int) -> float | None:
    return sorted(values)[ceil(percent * len(values) / 100) - 1] if values else None


def slow_row(group: tuple[Any, ...], records: list[UsageRecord]) -> UsageRow:
    answers = [each for each in records if each.kind == "answer"]
    outcomes = [each.outcome for each in answers]
    answered_s = [each.total_s for each in answers if each.outcome in ("ok", "cached")]
    return UsageRow(
        group,
        len(answers),
        outcomes.count("refused"),
        outcomes.count("failed") + outcomes.count("timed_out"),
        outcomes.count("cancelled"),
        sum(each.usage.prompt_tokens for each in records),
        sum(each.usage.cached_tokens for each in records),
        sum(each.usage.completion_tokens for each in records),
        sum(each.money_nano for each in records),
        percentile(answered_s, 50),
        percentile(answered_s, 99),
    )


def slow_twin(
    records: Sequence[UsageRecord], by: Sequence[Dimension], selection: Selection
) -> dict[tuple[Any, ...], UsageRow]:
    groups = defaultdict(list)
    for each in records:
        day = date.fromisoformat(when(each))
        is_late = selection.since is None or day >= selection.since
        is_early = selection.until is None or day < selection.until
        is_one = all(dimension(each, name) == value for name, value in selection.only.items())
        if is_late and is_early and is_one:
            groups[tuple(dimension(each, name) for name in by)].append(each)
    if not by:
        groups.setdefault((), [])
    return {group: slow_row(group, members) for group, members in groups.items()}


USAGES = st.builds(Usage, st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6))
RECORDS = st.builds(
    record,
    id=st.uuids().map(str),
    kind=st.sampled_from(["answer", "answer", "hedge", "shadow"]),
    tenant=st.sampled_from(["x", "y"]),
    key=st.sampled_from(["k", "l"]),
    model=st.sampled_from(["polite", "Polite", "a b"]),
    upstream=st.sampled_from([None, "own", "hosted"]),
    adapter_hash=st.sampled_from([None, "sha256:1"]),
    outcome=st.sampled_from(["ok", "ok", "cached", "refused", "failed", "cancelled", "timed_out"]),
    status=st.sampled_from([200, 429]),
    usage=USAGES,
    money_nano=st.integers(0, 10**14),
    total_s=st.floats(0, 100),
    time_s=st.integers(-3, 3).map(lambda day: NOON_S + day * DAY_S),
)
DAYS = st.none() | st.integers(-3, 3).map(
    lambda day: datetime.fromtimestamp(NOON_S + day * DAY_S, UTC).date()
)
ONLY = st.dictionaries(st.sampled_from(["tenant", "model"]), st.sampled_from(["x", "polite"]))


@given(
    st.lists(RECORDS, max_size=30),
    st.lists(st.sampled_from(DIMENSIONS), max_size=3, unique=True),
    st.builds(Selection, DAYS, DAYS, ONLY),
)
@settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
def test_a_report_says_what_its_slow_twin_says(
    tmp_path: Path, records: list[UsageRecord], by: list[Dimension], selection: Selection
) -> None:
    place = str(tmp_path / f"{len(list(tmp_path.iterdir()))}.sqlite")
    write(place, records)
    found = report(place, by, selection)
    expected = slow_twin(records, by, selection)
    assert {row.group: row for row in found} == expected
    assert len(found) == len(expected)
    money = [row.money_nano for row in found]
    assert money == sorted(money, reverse=True)


def test_both_databases_say_the_same_of_every_dimension(place: str) -> None:
    records = [
        record(
            f"r{at}",
            tenant=f"t{at % 2}",
            upstream=(None, "own")[at % 2],
            outcome=("ok", "refused", "cached")[at % 3],
            total_s=at / 8,
            money_nano=at,
            time_s=NOON_S + at % 2 * DAY_S * 40,
        )
        for at in range(40)
    ]
    write(place, records)
    for name in DIMENSIONS:
        found = {row.group: row for row in report(place, [name, "tenant"])}
        assert found == slow_twin(records, [name, "tenant"], Selection())
    only = Selection(date(2026, 11, 2), None, {"tenant": "t1"})
    assert report(place, [], only) == list(slow_twin(records, [], only).values())


def test_a_report_of_nothing_is_a_row_of_nothing(place: str) -> None:
    write(place, [])
    assert report(place, []) == [UsageRow((), 0, 0, 0, 0, 0, 0, 0, 0, None, None)]
    assert report(place, ["tenant"]) == []


def test_sums_pass_beyond_what_a_float_holds(place: str) -> None:
    most = 2**62
    write(place, [record("a", money_nano=most), record("b", money_nano=most - 1)])
    (row,) = report(place, [])
    assert row.money_nano == 2**63 - 1
    assert all(isinstance(value, int) for value in [row.requests, row.prompt_tokens])


def test_records_come_oldest_first_in_portions(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("descant.gateway.ledger.report._ROWS_AT_ONCE", 3)
    write(place, [record(f"r{at}", time_s=NOON_S - at) for at in range(8)])
    with database(place) as opened, opened.reading() as connection:
        parts = list(usage_records(connection, Selection()))
    assert [len(part) for part in parts] == [3, 3, 2]
    assert [row["id"] for part in parts for row in part] == [f"r{at}" for at in reversed(range(8))]
