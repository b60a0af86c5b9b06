"""The tables of the state database as SQLModel row types, and the rows that values become. No verbs; `rows` reads them.

A new database is laid out as they say, in one step; the migrations bring an older one to the same, and a test proves
that it is.
Times are ms since the epoch; units are decimals kept as text, because no database type keeps them exactly on
SQLite and PostgreSQL alike.
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy import BigInteger, Index, MetaData, Table, UniqueConstraint, false, text
from sqlmodel import Field, SQLModel

from reconciler.core.states import Record, Result
from reconciler.store.rows import COLUMNS
from reconciler.store.values import Forgotten, HistoryEntry, Publication

# word for word the condition of the index below, so that the database uses that
LIVE_TASKS = text("status IN ('submitting', 'submitted', 'processing')")


class _Row(SQLModel):
    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ix": "ix_%(table_name)s_%(column_0_name)s",
        }
    )


class TaskRow(_Row, table=True):
    """One attempt at a generation; the columns are the fields of `core.states.Record`, and `run_id`."""

    __tablename__ = "task"
    __table_args__ = (
        UniqueConstraint("base_id", "attempt"),
        # A task belongs to one attempt: a mixed-up answer cannot give it to a second one.
        Index("uq_task_task_id", "task_id", unique=True),
        # Money rule 1: the database itself refuses a second task of one generation that could be billed.
        Index("one_live_task_per_generation", "base_id", unique=True, sqlite_where=LIVE_TASKS),
    )

    external_task_id: str = Field(primary_key=True)
    base_id: str
    attempt: int
    status: str
    request: str
    spec: str = Field(index=True)
    label: str
    task_id: str | None
    reason: str
    estimated_units: str
    units: str | None
    intent_at: int | None = Field(sa_type=BigInteger, index=True)
    creates: int
    doubtful: bool
    gave_up_at: int | None = Field(sa_type=BigInteger)
    absent_looks: int
    refusal: str
    created_at: int | None = Field(sa_type=BigInteger)
    finished_at: int | None = Field(sa_type=BigInteger)
    run_id: str | None = Field(index=True)
    in_use: bool = Field(sa_column_kwargs={"server_default": false()})
    calendar_at: int | None = Field(sa_type=BigInteger, index=True)
    claimed: bool = Field(sa_column_kwargs={"server_default": false()})


class ResultRow(_Row, table=True):
    """One file of a finished attempt, bought or made of it here; its bytes are in the object store."""

    __tablename__ = "result"

    external_task_id: str = Field(primary_key=True, foreign_key="task.external_task_id")
    role: str = Field(primary_key=True)
    sha256: str
    size: int = Field(sa_type=BigInteger)
    duration: float | None
    width: int | None
    height: int | None


class EventRow(_Row, table=True):
    """One line of history; never changed, removed only when it is old, and kept when its task is not."""

    __tablename__ = "event"
    __table_args__ = {"sqlite_autoincrement": True}

    id: int | None = Field(primary_key=True)
    external_task_id: str = Field(index=True)
    at: int = Field(sa_type=BigInteger, index=True)
    kind: str
    detail: str
    request_id: str


class ForgottenRow(_Row, table=True):
    """An attempt that was forgotten, and its units, which caps go on counting."""

    __tablename__ = "forgotten"

    external_task_id: str = Field(primary_key=True)
    base_id: str = Field(index=True)
    units: str
    intent_at: int | None = Field(sa_type=BigInteger)
    run_id: str | None
    calendar_at: int | None = Field(sa_type=BigInteger)


class PublicationRow(_Row, table=True):
    """An output that we wrote, and how it looked; the inode is text because it may need all 64 bits."""

    __tablename__ = "publication"

    path: str = Field(primary_key=True)
    external_task_id: str
    role: str
    sha256: str
    size: int = Field(sa_type=BigInteger)
    mtime_ns: int = Field(sa_type=BigInteger)
    inode: str
    ctime_ns: int | None = Field(sa_type=BigInteger)


class HoldRow(_Row, table=True):
    """Why this program does not send a wanted generation."""

    __tablename__ = "hold"

    base_id: str = Field(primary_key=True)
    reason: str
    since: int = Field(sa_type=BigInteger)


class GivenOrder(_Row, table=True):
    """An order that a command left for the process that writes, and what became of it; see `order_queue`."""

    __tablename__ = "given_order"
    __table_args__ = {"sqlite_autoincrement": True}

    id: int | None = Field(primary_key=True)
    ticket: str = Field(unique=True)
    document: str
    asked: int  # how often the giver was asked whether it still waits; 0: the order is not taken
    heard: int  # the last of these questions that the giver replied to
    answer: str | None


class MemoryRow(_Row, table=True):
    """Small facts that survive a restart, such as the concurrency that was learnt."""

    __tablename__ = "memory"

    key: str = Field(primary_key=True)
    value: str


METADATA: MetaData = _Row.metadata
TASK: Table = METADATA.tables["task"]
RESULT: Table = METADATA.tables["result"]
EVENT: Table = METADATA.tables["event"]
FORGOTTEN: Table = METADATA.tables["forgotten"]
PUBLICATION: Table = METADATA.tables["publication"]
HOLD: Table = METADATA.tables["hold"]
GIVEN_ORDER: Table = METADATA.tables["given_order"]
MEMORY: Table = METADATA.tables["memory"]

VERSION = sa.Table(
    "alembic_version",
    METADATA,
    sa.Column("version_num", sa.String(32), nullable=False),
    sa.PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)
"""Alembic's own table: one row, the revision that the tables have."""

_TRIGGERS = (
    "update BEFORE UPDATE ON event BEGIN SELECT RAISE(ABORT, 'history is append-only'); END",
    "delete BEFORE DELETE ON event "
    "WHEN OLD.at > (CAST(strftime('%s', 'now') AS INTEGER) - 30 * 86400) * 1000 "
    "BEGIN SELECT RAISE(ABORT, 'history is append-only for 30 days'); END",
)


@sa.event.listens_for(EVENT, "after_create")
def _refuse_changes(_table: Table, connection: sa.Connection, **_: object) -> None:
    if connection.dialect.name == "sqlite":
        for trigger in _TRIGGERS:
            connection.exec_driver_sql(f"CREATE TRIGGER event_refuses_{trigger}")


_PROSE = frozenset({"reason", "refusal", "spec", "label", "detail", "request_id"})


def row_of(
    value: Record | Result | HistoryEntry | Forgotten | Publication, **more: object
) -> dict[str, object]:
    """Return the columns of a value; enumerations and amounts are text there."""
    said = {name: getattr(value, name) for name in COLUMNS[type(value)]} | more
    for name, one in said.items():
        if name in _PROSE:
            said[name] = printable(one)
        elif isinstance(one, (StrEnum, Decimal)):
            said[name] = str(one)
    return said


def printable(text: str) -> str:
    """Return text for people that every database can hold: JSON may carry halves of characters."""
    return text.encode("utf-8", "replace").decode("utf-8")
