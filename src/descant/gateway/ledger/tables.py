"""The tables of the books, the same in SQLite and PostgreSQL.

`gateway_usage` can only be added to: triggers refuse everything else, and a row that is there already
is passed over. `gateway_spent` sums money by UTC day, tenant and key; a trigger adds to it in the
transaction of the rows themselves, so it can neither lag behind nor count a row twice. A gateway that
starts reads a month of it: 31 rows for each name, however many requests there were.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Connection, Float, Integer, MetaData, String, Table

METADATA = MetaData()

USAGE = Table(
    "gateway_usage",
    METADATA,
    Column("id", String, primary_key=True),
    Column("kind", String, primary_key=True),
    Column("part", Integer, primary_key=True, autoincrement=False),
    # ISO 8601 in UTC, always as long: text that sorts as time does.
    Column("time", String, nullable=False, index=True),
    Column("tenant", String, nullable=False),
    Column("key", String, nullable=False),
    Column("operation", String, nullable=False),
    Column("model", String, nullable=False),
    Column("adapter_hash", String),
    Column("upstream", String),
    Column("outcome", String, nullable=False),
    Column("status", Integer, nullable=False),
    Column("prompt_tokens", BigInteger, nullable=False),
    Column("cached_tokens", BigInteger, nullable=False),
    Column("completion_tokens", BigInteger, nullable=False),
    Column("money_nano", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("is_stream", Integer, nullable=False),
    Column("wait_s", Float, nullable=False),
    Column("first_byte_s", Float),
    Column("total_s", Float, nullable=False),
)
SPENT = Table(
    "gateway_spent",
    METADATA,
    Column("day", String, primary_key=True),
    Column("scope", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("money_nano", BigInteger, nullable=False),
)


def create_tables(connection: Connection) -> None:
    """Make whatever of the tables and triggers is missing, within the caller's transaction."""
    METADATA.create_all(connection)
    statements = _SQLITE if connection.dialect.name == "sqlite" else _POSTGRESQL
    for statement in statements:
        connection.exec_driver_sql(statement)


def append_statement(dialect: str) -> str:
    """Return SQL that adds a JSON array of rows: one statement and one value, however many rows.

    A value for each field would take and give back the interpreter's lock for each row, which slows
    the event loop beside it.
    """
    names = ", ".join(f'"{column.name}"' for column in USAGE.columns)
    if dialect == "sqlite":
        fields = ", ".join(f"json_extract(value, '$.{column.name}')" for column in USAGE.columns)
        rows = f"SELECT {fields} FROM json_each(:rows) WHERE true"
    else:
        rows = (
            f"SELECT {names} FROM json_populate_recordset(NULL::{USAGE.name}, CAST(:rows AS json))"
        )
    return f"INSERT INTO {USAGE.name} ({names}) {rows} ON CONFLICT DO NOTHING"


def _sqlite_sum(scope: str) -> str:
    return f"""INSERT INTO gateway_spent (day, scope, name, money_nano)
    VALUES (substr(NEW.time, 1, 10), '{scope}', NEW."{scope}", NEW.money_nano)
    ON CONFLICT (day, scope, name) DO UPDATE SET money_nano = money_nano + excluded.money_nano;"""


# REPLACE deletes what it replaces without asking the trigger for deletions: rows there are go first.
_SQLITE = (
    """CREATE TRIGGER IF NOT EXISTS gateway_usage_stays BEFORE UPDATE ON gateway_usage
    BEGIN SELECT RAISE(ABORT, 'gateway_usage is append-only'); END""",
    """CREATE TRIGGER IF NOT EXISTS gateway_usage_is_kept BEFORE DELETE ON gateway_usage
    BEGIN SELECT RAISE(ABORT, 'gateway_usage is append-only'); END""",
    """CREATE TRIGGER IF NOT EXISTS gateway_usage_once BEFORE INSERT ON gateway_usage
    WHEN EXISTS (SELECT 1 FROM gateway_usage
                 WHERE id = NEW.id AND kind = NEW.kind AND part = NEW.part)
    BEGIN SELECT RAISE(IGNORE); END""",
    f"""CREATE TRIGGER IF NOT EXISTS gateway_usage_is_summed AFTER INSERT ON gateway_usage
    WHEN NEW.kind <> 'shadow' AND NEW.money_nano <> 0
    BEGIN {_sqlite_sum("tenant")} {_sqlite_sum("key")} END""",
)
_POSTGRESQL = (
    """CREATE OR REPLACE FUNCTION gateway_usage_append_only() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'gateway_usage is append-only'; END $$""",
    """CREATE OR REPLACE TRIGGER gateway_usage_stays BEFORE UPDATE OR DELETE ON gateway_usage
    FOR EACH ROW EXECUTE FUNCTION gateway_usage_append_only()""",
    """CREATE OR REPLACE TRIGGER gateway_usage_is_kept BEFORE TRUNCATE ON gateway_usage
    FOR EACH STATEMENT EXECUTE FUNCTION gateway_usage_append_only()""",
    # Always in one order, so that two gateways never wait for each other.
    """CREATE OR REPLACE FUNCTION gateway_usage_sum() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN
        INSERT INTO gateway_spent (day, scope, name, money_nano)
        SELECT substr(added.time, 1, 10), whose.scope, whose.name, sum(added.money_nano)
        FROM added CROSS JOIN LATERAL
            (VALUES ('tenant', added.tenant), ('key', added.key)) AS whose (scope, name)
        WHERE added.kind <> 'shadow' AND added.money_nano <> 0
        GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
        ON CONFLICT (day, scope, name)
        DO UPDATE SET money_nano = gateway_spent.money_nano + excluded.money_nano;
        RETURN NULL;
    END $$""",
    """CREATE OR REPLACE TRIGGER gateway_usage_is_summed AFTER INSERT ON gateway_usage
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION gateway_usage_sum()""",
)
