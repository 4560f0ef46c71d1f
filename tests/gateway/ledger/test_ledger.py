from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError

from descant.gateway.ledger import Ledger, LedgerBounds, LedgerPlace, Scope, UsageRecord
from descant.gateway.ledger.tables import USAGE
from descant.schema.errors import InvalidConfig, LedgerUnavailable
from tests.gateway.ledger.books import NOON_S, RECORD, database, ids, ledger, record, rows, write

DAY_S = 86_400
NewPlace = Callable[[Path], str]


def test_a_record_comes_back_as_it_was_written(place: str) -> None:
    write(place, [RECORD])
    assert rows(place) == [
        {
            "id": "r0",
            "kind": "answer",
            "part": 0,
            "time": "2026-11-01T12:00:00.000000Z",
            "tenant": "quality",
            "key": "team",
            "operation": "chat",
            "model": "polite",
            "adapter_hash": None,
            "upstream": "own",
            "outcome": "ok",
            "status": 200,
            "prompt_tokens": 100,
            "cached_tokens": 40,
            "completion_tokens": 10,
            "money_nano": 1_500,
            "attempts": 1,
            "is_stream": 0,
            "wait_s": 0.0,
            "first_byte_s": 0.02,
            "total_s": 0.1,
        }
    ]


def test_the_columns_are_those_of_a_record() -> None:
    import orjson

    assert list(orjson.loads(RECORD.to_line())) == [column.name for column in USAGE.columns]


def test_records_arrive_without_being_asked_for(place: str) -> None:
    with ledger(place) as opened:
        opened.flush()
        opened.write(RECORD)
        until = time.monotonic() + 20
        while not rows(place) and time.monotonic() < until:
            time.sleep(0.02)
        assert ids(place) == ["r0"]


def test_money_is_summed_by_tenant_and_key_from_a_day_on(place: str) -> None:
    with ledger(place) as opened:
        opened.write(record("old", time_s=NOON_S - DAY_S))
        opened.write(record("new"))
        opened.write(record("other", key="robot", money_nano=7))
        assert opened.spent(date(2026, 11, 1)) == {
            ("tenant", "quality"): 1_507,
            ("key", "team"): 1_500,
            ("key", "robot"): 7,
        }
        assert opened.spent(date(2026, 10, 1))["tenant", "quality"] == 3_007
        assert opened.spent(date(2026, 11, 2)) == {}


def test_a_day_begins_at_midnight_in_utc(place: str) -> None:
    midnight_s = datetime(2026, 11, 2, tzinfo=UTC).timestamp()
    with ledger(place) as opened:
        opened.write(record("before", time_s=midnight_s - 1e-6, money_nano=1))
        opened.write(record("at", time_s=midnight_s, money_nano=2))
        assert opened.spent(date(2026, 11, 2))["key", "team"] == 2
        assert opened.spent(date(2026, 11, 1))["key", "team"] == 3


def test_writing_twice_is_paid_once(place: str) -> None:
    write(place, [RECORD, record("other"), RECORD])
    with ledger(place) as opened:
        opened.write(record("r0", money_nano=99))
        assert opened.spent(date(2026, 11, 1))["key", "team"] == 3_000
    assert sorted(ids(place)) == ["other", "r0"]


def test_a_hedge_is_paid_beside_the_answer_and_a_shadow_by_nobody(place: str) -> None:
    with ledger(place) as opened:
        opened.write(RECORD)
        opened.write(record("r0", kind="hedge", money_nano=200))
        opened.write(record("r0", kind="shadow", money_nano=3_000))
        opened.write(record("r0", kind="stage", part=1, money_nano=1))
        opened.write(record("r0", kind="stage", part=2, money_nano=1))
        assert opened.spent(date(2026, 11, 1))["tenant", "quality"] == 1_702
    assert len(rows(place)) == 5


@pytest.mark.parametrize(
    "statement", ["UPDATE gateway_usage SET money_nano = 0", "DELETE FROM gateway_usage"]
)
def test_rows_can_only_be_added(place: str, statement: str) -> None:
    write(place, [RECORD])
    assert_refused(place, statement)


def test_the_table_cannot_be_emptied(new_database_place: NewPlace, tmp_path: Path) -> None:
    place = new_database_place(tmp_path)
    write(place, [RECORD])
    assert_refused(place, "TRUNCATE gateway_usage")


def assert_refused(place: str, statement: str) -> None:
    engine = create_engine(LedgerPlace.parse(place).database)
    with engine.connect() as connection, pytest.raises(DBAPIError, match="append-only"):
        connection.execute(text(statement))
    engine.dispose()
    assert rows(place)[0]["money_nano"] == 1_500


def test_replacing_adds_nothing(tmp_path: Path) -> None:
    place = str(tmp_path / "usage.sqlite")
    write(place, [RECORD])
    names = ", ".join(f'"{column.name}"' for column in USAGE.columns)
    new = names.replace('"money_nano"', "0")
    with closing(sqlite3.connect(place)) as connection, connection:
        connection.execute(
            f"INSERT OR REPLACE INTO gateway_usage ({names}) SELECT {new} FROM gateway_usage"
        )
    assert [row["money_nano"] for row in rows(place)] == [1_500]


def test_a_callers_strange_words_are_kept_or_replaced(place: str) -> None:
    models = ["a'; DROP TABLE x --", "\0nul", "half \ud800", 'quo"te\n', "語" * 500, "", "\u2028"]
    with ledger(place) as opened:
        for at, model in enumerate(models):
            opened.write(record(f"r{at}", model=model))
    found = {row["id"]: row["model"] for row in rows(place)}
    expected = [models[0], "\ufffdnul", "half ?", 'quo"te\n', "語" * 200, "", "\u2028"]
    assert found == {f"r{at}": model for at, model in enumerate(expected)}


def test_a_row_the_database_does_not_take_does_not_hold_up_others(
    place: str, tmp_path: Path
) -> None:
    bad = record("bad", total_s=float("nan"))
    with ledger(place) as opened:
        for each in (record("r1"), bad, record("r2")):
            opened.write(each)
        opened.flush()
        assert opened.state.refused == 1
        assert opened.state.lost == 0
    assert ids(place) == ["r1", "r2"]
    (aside,) = tmp_path.rglob("refused.jsonl")
    assert aside.read_bytes() == bad.to_line()


def test_a_record_that_cannot_be_written_is_counted(
    place: str, caplog: pytest.LogCaptureFixture
) -> None:
    with ledger(place) as opened:
        opened.write(record("r1", money_nano=2**80))
        opened.write(record("r2", time_s=float("inf")))
        opened.write(record("r3"))
        opened.flush()
        assert opened.state.lost == 2
    assert ids(place) == ["r3"]
    assert "2 usage records are lost" in caplog.text


def test_what_the_memory_has_no_room_for_is_counted_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = str(tmp_path / "usage.sqlite")
    opened = Ledger.open(place, LedgerBounds(most_records=10))
    with opened._intake._moving:  # As a disk that hangs.
        for at in range(25):
            opened.write(record(f"r{at}"))
        assert opened.state.lost == 15
    opened.close()
    assert len(rows(place)) == 10
    assert "15 usage records are lost" in caplog.text


def test_what_the_disk_may_not_hold_is_counted_and_said(
    new_database_place: NewPlace, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = new_database_place(tmp_path)
    line = len(record("r100").to_line())
    with Away(place):
        opened = Ledger.open(place, LedgerBounds(most_bytes=130 * line))
        for at in range(100, 300):
            opened.write(record(f"r{at}"))
        opened.close()
        assert opened.state.lost + opened.state.waiting_bytes // line == 200
    assert opened.state.lost == 72  # 64 at once
    assert "72 usage records are lost" in caplog.text
    write(place, [])
    assert len(rows(place)) == 128


class Away:
    """A database of a real server that lets nobody in, and everybody out, as long as this lasts."""

    def __init__(self, place: str):
        database = LedgerPlace.parse(place).database
        self._name = database.database
        address = database.set(database="postgres")
        self._engine = create_engine(address, isolation_level="AUTOCOMMIT")

    def __enter__(self) -> None:
        self._run(f"ALTER DATABASE {self._name} ALLOW_CONNECTIONS false")
        self._run(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname='{self._name}'"
        )

    def __exit__(self, *_: object) -> None:
        self._run(f"ALTER DATABASE {self._name} ALLOW_CONNECTIONS true")
        self._engine.dispose()

    def _run(self, statement: str) -> None:
        with self._engine.connect() as connection:
            connection.execute(text(statement))


def test_records_wait_while_the_database_is_away(
    new_database_place: NewPlace, tmp_path: Path
) -> None:
    place = new_database_place(tmp_path)
    with ledger(place) as opened:
        opened.write(record("before"))
        opened.flush()
        with Away(place):
            opened.write(record("while"))
            with pytest.raises(LedgerUnavailable, match="does not answer"):
                opened.flush()
            assert not opened.state.is_reachable
            assert opened.state.waiting_bytes == len(record("while").to_line())
        opened.write(record("after"))
        assert opened.spent(date(2026, 11, 1))["key", "team"] == 4_500
        assert opened.state.is_reachable
        assert opened.state.waiting_bytes == 0
    assert sorted(ids(place)) == ["after", "before", "while"]


def test_what_waits_comes_without_being_asked_for_when_the_database_is_back(
    new_database_place: NewPlace, tmp_path: Path
) -> None:
    place = new_database_place(tmp_path)
    with ledger(place) as opened:
        with Away(place):
            opened.write(RECORD)
            with pytest.raises(LedgerUnavailable):
                opened.flush()
        until = time.monotonic() + 20
        while opened.state.waiting_bytes and time.monotonic() < until:
            time.sleep(0.02)
        assert ids(place) == ["r0"]


def test_a_ledger_opens_and_closes_without_its_database(
    new_database_place: NewPlace, tmp_path: Path
) -> None:
    place = new_database_place(tmp_path)
    with Away(place):
        write(place, [record("r1")])
        write(place, [record("r2")])
    with ledger(place) as opened:
        assert opened.spent(date(2026, 11, 1))["key", "team"] == 3_000
    assert list(tmp_path.glob("*.jsonl")) == []


def test_records_wait_for_another_writer_of_the_same_file(tmp_path: Path) -> None:
    place = str(tmp_path / "usage.sqlite")
    write(place, [])
    with closing(sqlite3.connect(place, isolation_level=None)) as other, ledger(place) as opened:
        opened.flush()
        other.execute("BEGIN IMMEDIATE")
        opened.write(RECORD)
        flushing = threading.Thread(target=opened.flush)
        flushing.start()
        assert rows(place) == []
        other.execute("COMMIT")
        flushing.join()
        assert ids(place) == ["r0"]


def test_half_a_line_is_set_aside_and_the_others_are_taken(tmp_path: Path) -> None:
    place = str(tmp_path / "usage.sqlite")
    waiting = tmp_path / "usage.sqlite.waiting"
    waiting.mkdir()
    lines = [record(f"r{at}").to_line() for at in range(3)]
    left = waiting / "1-dead.waiting.jsonl"
    left.write_bytes(lines[0] + b"\0\0\n" + lines[1] + lines[2][:-20])
    with ledger(place) as opened:
        opened.flush()
        assert opened.state.refused == 2
    assert ids(place) == ["r0", "r1"]
    assert not left.exists()
    assert (waiting / "refused.jsonl").read_bytes() == b"\0\0\n" + lines[2][:-20] + b"\n"


def test_what_a_living_process_has_waiting_is_left_to_it(
    new_database_place: NewPlace, tmp_path: Path
) -> None:
    place = new_database_place(tmp_path)
    with ledger(place) as one, Away(place):
        one.write(record("one"))
        with pytest.raises(LedgerUnavailable):
            one.flush()
        (held,) = tmp_path.glob("*.jsonl")
        write(place, [record("two")])
        assert len(list(tmp_path.glob("*.jsonl"))) == 2
        assert held.read_bytes() == record("one").to_line()
    assert sorted(ids(place)) == ["one", "two"]


RECORDS = st.builds(
    record,
    id=st.sampled_from(["a", "b", "c", "d"]),
    kind=st.sampled_from(["answer", "hedge", "shadow"]),
    tenant=st.sampled_from(["x", "y"]),
    key=st.sampled_from(["x", "k"]),
    money_nano=st.integers(0, 10**12),
    time_s=st.integers(-3, 3).map(lambda day: NOON_S + day * DAY_S),
)


@given(st.lists(st.lists(RECORDS, max_size=8), max_size=4), st.integers(-3, 3))
@settings(
    max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
def test_what_is_spent_is_the_sum_of_the_first_of_each(
    tmp_path: Path, batches: list[list[UsageRecord]], day: int
) -> None:
    place = str(tmp_path / f"{time.monotonic_ns()}.sqlite")
    since = datetime.fromtimestamp(NOON_S + day * DAY_S, UTC).date()
    expected: dict[tuple[str, str], int] = {}
    seen = set()
    for each in (each for batch in batches for each in batch):
        when = datetime.fromtimestamp(each.time_s, UTC).date()
        is_first = (each.id, each.kind) not in seen
        seen.add((each.id, each.kind))
        if is_first and each.kind != "shadow" and when >= since and each.money_nano:
            for scope in (("tenant", each.tenant), ("key", each.key)):
                expected[scope] = expected.get(scope, 0) + each.money_nano
    with ledger(place) as opened:
        for batch in batches:
            for each in batch:
                opened.write(each)
            opened.flush()
        assert opened.spent(since) == expected
    assert len(rows(place)) == len(seen)


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("mysql://host/books", "mysql"),
        ("postgresql://user:secret@host/books", "does not say in which folder"),
        ("postgresql://host/books?waiting=here", "not absolute"),
        ("postgresql://host:port/books", "not a URL"),
        ("/dev/null/usage.sqlite", "cannot be written"),
    ],
)
def test_a_place_that_is_none_is_refused_without_its_password(place: str, said: str) -> None:
    with pytest.raises(InvalidConfig, match=said) as raised:
        Ledger.open(place)
    assert "secret" not in str(raised.value)


def test_books_that_are_not_there_are_not_made_by_reading(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match="no books"), database(str(tmp_path / "x.sqlite")):
        pass
    assert list(tmp_path.iterdir()) == []


def test_many_open_new_books_at_once(place: str) -> None:
    start = threading.Barrier(6)

    def first_day(_: int) -> dict[tuple[Scope, str], int]:
        with ledger(place) as opened:
            start.wait()
            opened.write(RECORD)
            return opened.spent(date(2026, 11, 1))

    with ThreadPoolExecutor(6) as crowd:
        found = list(crowd.map(first_day, range(6)))
    assert found == [{("tenant", "quality"): 1_500, ("key", "team"): 1_500}] * 6


def test_what_is_written_too_late_is_counted(tmp_path: Path) -> None:
    opened = Ledger.open(str(tmp_path / "usage.sqlite"))
    opened.close()
    opened.write(RECORD)
    assert opened.state.lost == 1
