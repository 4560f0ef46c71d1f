"""The tables of the catalogue, the same in SQLite and PostgreSQL.

Rows of the audit trail and of the evaluations can be added only: triggers refuse everything else. The
trail's numbers have no gaps, for every change takes the next one from `state`, whose one row is also
the lock that lets one writer in at a time.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Connection,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
)

FORMAT_VERSION = 1
METADATA = MetaData()
_JSON = JSON(none_as_null=True)

STATE = Table(
    "registry_state",
    METADATA,
    Column("format", Integer, primary_key=True),
    Column("last_change", BigInteger, nullable=False),
)
CONTENTS = Table(
    "registry_contents",
    METADATA,
    Column("version", String(71), primary_key=True),
    Column("num_bytes", BigInteger, nullable=False),
    Column("manifest", _JSON),
    # Of the manifest, to be looked up by; the hash over weights alone, as the engine knows them.
    Column("weights_hash", String(71), index=True),
    Column("parent", String(71), index=True),
)
FILES = Table(
    "registry_files",
    METADATA,
    Column("version", ForeignKey(CONTENTS.c.version), primary_key=True),
    Column("path", String(300), primary_key=True),
    Column("sha256", String(64), nullable=False),
    Column("num_bytes", BigInteger, nullable=False),
)
ADAPTERS = Table("registry_adapters", METADATA, Column("name", String(128), primary_key=True))
VERSIONS = Table(
    "registry_versions",
    METADATA,
    Column("name", ForeignKey(ADAPTERS.c.name), primary_key=True),
    Column("version", ForeignKey(CONTENTS.c.version), primary_key=True),
    Column("added_at", String(40), nullable=False),
)


def _version_of_a_name() -> ForeignKeyConstraint:
    return ForeignKeyConstraint(["name", "version"], [VERSIONS.c.name, VERSIONS.c.version])


ALIASES = Table(
    "registry_aliases",
    METADATA,
    Column("name", String(128), primary_key=True),
    Column("alias", String(64), primary_key=True),
    Column("version", String(71), nullable=False),
    _version_of_a_name(),
)
EVALUATIONS = Table(
    "registry_evaluations",
    METADATA,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("name", String(128), nullable=False),
    Column("version", String(71), nullable=False),
    Column("at", String(40), nullable=False),
    Column("who", String(256), nullable=False),
    Column("evidence", _JSON, nullable=False),
    _version_of_a_name(),
)
AUDIT = Table(
    "registry_audit",
    METADATA,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("at", String(40), nullable=False),
    Column("who", String(256), nullable=False),
    Column("action", String(16), nullable=False),
    Column("name", String(128), nullable=False),
    Column("alias", String(64)),
    Column("before", String(71)),
    Column("after", String(71)),
    Column("reason", String, nullable=False),
    Column("evidence", _JSON),
    Column("forced_reason", String),
    Index("registry_audit_of_alias", "name", "alias", "number"),
)
APPEND_ONLY = (AUDIT.name, EVALUATIONS.name)


def create_tables(connection: Connection) -> None:
    """Make whatever of the tables and triggers is missing, within the caller's transaction."""
    METADATA.create_all(connection)
    statements = _SQLITE if connection.dialect.name == "sqlite" else _POSTGRESQL
    for table in APPEND_ONLY:
        for statement in statements:
            connection.exec_driver_sql(statement.replace("THE_TABLE", table))


# Not REPLACE either, which deletes what it replaces without asking the trigger for deletions.
_SQLITE = (
    """CREATE TRIGGER IF NOT EXISTS THE_TABLE_stays BEFORE UPDATE ON THE_TABLE
    BEGIN SELECT RAISE(ABORT, 'THE_TABLE is append-only'); END""",
    """CREATE TRIGGER IF NOT EXISTS THE_TABLE_is_kept BEFORE DELETE ON THE_TABLE
    BEGIN SELECT RAISE(ABORT, 'THE_TABLE is append-only'); END""",
    """CREATE TRIGGER IF NOT EXISTS THE_TABLE_is_added_to BEFORE INSERT ON THE_TABLE
    WHEN EXISTS (SELECT 1 FROM THE_TABLE WHERE number = NEW.number)
    BEGIN SELECT RAISE(ABORT, 'THE_TABLE is append-only'); END""",
)
_POSTGRESQL = (
    """CREATE OR REPLACE FUNCTION registry_append_only() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION '%% is append-only', TG_TABLE_NAME; END $$""",
    """CREATE OR REPLACE TRIGGER THE_TABLE_stays BEFORE UPDATE OR DELETE ON THE_TABLE
    FOR EACH ROW EXECUTE FUNCTION registry_append_only()""",
    """CREATE OR REPLACE TRIGGER THE_TABLE_is_kept BEFORE TRUNCATE ON THE_TABLE
    FOR EACH STATEMENT EXECUTE FUNCTION registry_append_only()""",
)
