"""Reading knows what the tables hold without them: it goes through the driver, and checks every value."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from itertools import chain
from pathlib import Path
from types import NoneType

import pytest
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import make_url

from reconciler.core.errors import StateError
from reconciler.store import rows, state
from reconciler.store.database import database_path, open_for_reading
from reconciler.store.repository import Repository
from reconciler.store.rows import TEXT, Select
from reconciler.store.state import State
from reconciler.store.tables import METADATA

from .builders import fresh, record

_KINDS: dict[str, set[type]] = {
    "VARCHAR": {str},
    "INTEGER": {int},
    "BIGINT": {int},
    "BOOLEAN": {int},
    "FLOAT": {float, int},
}


def _selects() -> list[Select]:
    named = chain(vars(rows).values(), vars(state).values())
    found = chain.from_iterable(one if isinstance(one, tuple) else (one,) for one in named)
    return [one for one in found if isinstance(one, Select)]


def test_reading_expects_what_the_tables_say() -> None:
    """Each column that is selected is there, of that kind, and may be NULL where reading lets it be."""
    selects = _selects()
    assert {select.table for select in selects} == METADATA.tables.keys() - {
        "given_order",
        "alembic_version",
    }
    for select in selects:
        for name, kinds in select.columns.items():
            column = METADATA.tables[select.table].c[name]
            nothing = {NoneType} if column.nullable else set[type]()
            assert kinds == _KINDS[column.type.compile(dialect=sqlite.dialect())] | nothing, column


@pytest.mark.parametrize("value", [None, 1, 2.5, b"why"])
def test_value_of_another_kind_is_named_with_its_column(value: object) -> None:
    """Not even what the schema forbids is believed: a sentence says where it is."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE hold (base_id, reason)")
        connection.execute("INSERT INTO hold VALUES ('mc1-a', ?)", (value,))
        asked = Select("hold", {"base_id": TEXT, "reason": TEXT})
        with pytest.raises(StateError, match=r"a hold\.reason holds a value of another kind"):
            asked.rows(connection)


@pytest.mark.parametrize("column", ["doubtful", "in_use", "claimed"])
@pytest.mark.parametrize("value", [2, -1])
def test_a_flag_is_zero_or_one(
    repository: Repository, database: Path, column: str, value: int
) -> None:
    """Another number is damage, and neither true nor false."""
    repository.save([fresh(record())])
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(f"UPDATE task SET {column} = {value}")
    with pytest.raises(StateError, match=r"is damaged \(the record of mc1-a makes no sense\)"):
        repository.records()


def test_flags_come_back_as_true_and_false(repository: Repository, database: Path) -> None:
    """Not as SQLite's 0 and 1, which JSON would show."""
    repository.save([fresh(record(doubtful=True))])
    with closing(State.open(database)) as reader:
        for kept in (repository.records()["mc1-a"], reader.records()["mc1-a"]):
            assert (kept.doubtful, kept.in_use, kept.claimed) == (True, False, False)
            assert {type(kept.doubtful), type(kept.in_use), type(kept.claimed)} == {bool}


def test_a_look_is_of_one_moment(repository: Repository, database: Path) -> None:
    """What is committed while a reader looks is seen by its next look."""
    repository.save([fresh(record())])
    opened = open_for_reading(database)
    assert opened is not None
    with closing(opened):
        for expected in (1, 2):
            with opened.read() as connection:
                assert len(rows.TASKS.rows(connection)) == expected
                repository.save([fresh(record(f"mc1-{expected}"))])
                assert len(rows.TASKS.rows(connection)) == expected


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///state.db",
        "sqlite:////var/lib/state.db",
        "sqlite+pysqlite:///state.db",
        "sqlite:///state.db?mode=ro",
        "sqlite://host/state.db",
    ],
)
def test_a_url_names_the_file_that_sqlalchemy_reads_in_it(url: str) -> None:
    """Where the state is does not depend on who parses the address."""
    assert str(database_path(url)) == make_url(url).database


def test_an_escaped_sign_in_a_url_is_that_sign() -> None:
    """As in every URL."""
    assert database_path("sqlite:///50%25%20off.db") == Path("50% off.db")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql+psycopg://u:secret@h:5432/d", "A postgresql database of this kind"),
        ("sqlite://", "A sqlite database of this kind"),
        ("sqlite://state.db", "A sqlite database of this kind"),
        ("sqlite:///:memory:", "A sqlite database of this kind"),
        ("my-own://x", "is not a database URL"),
        ("://", "is not a database URL"),
    ],
)
def test_another_address_is_said(url: str, said: str) -> None:
    """One sentence without the address, which may hold a password."""
    with pytest.raises(StateError, match=said) as caught:
        database_path(url)
    assert "secret" not in caught.value.message + caught.value.hint
