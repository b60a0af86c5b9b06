"""The schema on disk is the models', and a database of another version is refused or upgraded."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.command import upgrade
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from reconciler.core.errors import StateError
from reconciler.core.states import LIVE, Status
from reconciler.store import database as database_module
from reconciler.store.database import HEAD
from reconciler.store.repository import Repository
from reconciler.store.state import State
from reconciler.store.tables import METADATA
from reconciler.store.values import HistoryEntry

from .builders import DAY, first_version

_OPEN = """
import sys
from reconciler.store.repository import Repository
Repository.open(sys.argv[1]).close()
print("alembic" in sys.modules)
"""


def _statements(path: Path) -> set[str]:
    """The schema in SQLite's own words, without white space and quotes; a later column may stand anywhere."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT sql FROM sqlite_master WHERE sql <> ''").fetchall()
    return {
        "|".join(sorted("".join(sql.replace('"', "").split()).removesuffix(")").split(",")))
        for (sql,) in rows
    }


def _migrate(path: Path, revision: str) -> None:
    """Bring a database of any version, or none, to a later one, as its program would have done."""
    config = Config()
    config.set_main_option("script_location", "reconciler.store:migrations")
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        upgrade(config, revision)
    engine.dispose()


def test_new_database_is_what_all_migrations_make(
    tmp_path: Path, repository: Repository, database: Path
) -> None:
    """One laid out in one step and one that was upgraded ever since have the same tables, indexes and triggers."""
    _migrate(tmp_path / "old.db", "head")
    assert _statements(database) == _statements(tmp_path / "old.db")


def test_alembic_sees_no_difference(tmp_path: Path) -> None:
    """`alembic revision --autogenerate` would have nothing to write."""
    _migrate(tmp_path / "old.db", "head")
    engine = create_engine(f"sqlite:///{tmp_path / 'old.db'}")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
    engine.dispose()


def test_recorded_head_is_the_scripts_head() -> None:
    """The constant that a fast start compares with is the newest revision there is."""
    config = Config()
    config.set_main_option("script_location", "reconciler.store:migrations")
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


def test_database_knows_every_live_status(repository: Repository, database: Path) -> None:
    """The index that refuses a second live task lists the statuses that the core calls live."""
    (index,) = (s for s in _statements(database) if "one_live_task" in s)
    assert {word for word in index.split("'") if word.isalpha()} >= {s.value for s in LIVE}
    assert index.count("'") == 2 * len(LIVE)


@pytest.mark.parametrize("change", ["UPDATE event SET kind = 'x'", "DELETE FROM event"])
def test_history_is_append_only(repository: Repository, database: Path, change: str) -> None:
    """The database itself refuses to change any line of history, and to remove one of the last 30 days."""
    age = 0 if change.startswith("UPDATE") else 29 * 86_400_000
    repository.note([HistoryEntry("mc1-a", time.time_ns() // 1_000_000 - age, "seen")])
    with (
        closing(sqlite3.connect(database)) as connection,
        pytest.raises(sqlite3.IntegrityError, match="append-only"),
    ):
        connection.execute(change)


def test_alembic_is_imported_only_to_upgrade(tmp_path: Path) -> None:
    """A new database and one of today do without the migration tool; the first start after an upgrade needs it."""
    old, new = tmp_path / "old.db", tmp_path / "new.db"
    first_version(old)
    said = [
        subprocess.run(
            [sys.executable, "-c", _OPEN, str(path)], capture_output=True, text=True, check=True
        ).stdout.strip()
        for path in (new, new, old, old)
    ]
    assert said == ["False", "False", "True", "False"]


@pytest.mark.parametrize("kind", [Repository, State])
def test_database_of_a_newer_version_is_refused(database: Path, kind: type[State]) -> None:
    """A newer program's database is left alone, and the person is told to upgrade the program."""
    Repository.open(database).close()
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    before = database.read_bytes()
    with pytest.raises(StateError, match="newer version") as caught:
        kind.open(database)
    assert "Upgrade the program" in caught.value.hint
    assert database.read_bytes() == before


@pytest.mark.parametrize("kind", [Repository, State])
def test_database_of_this_version_is_refused_by_the_one_before(
    database: Path, monkeypatch: pytest.MonkeyPatch, kind: type[State]
) -> None:
    """The program that knows the first tables only leaves a database of today alone."""
    Repository.open(database).close()
    monkeypatch.setattr(database_module, "HEAD", "0001")
    with pytest.raises(StateError, match=rf"newer version of this program \({HEAD}, not 0001\)"):
        kind.open(database)


def test_first_version_is_upgraded_with_all_it_holds(database: Path) -> None:
    """Records, history, holds and outputs of a database of the first version are there afterwards."""
    first_version(database)
    with closing(Repository.open(database)) as repository:
        kept = repository.records()["mc1-a"]
        assert (kept.status, kept.units, kept.task_id) == (Status.COMPLETE, Decimal("2.5"), "8001")
        assert [result.sha256 for result in kept.results] == ["a" * 64]
        assert (kept.results[0].width, kept.results[0].height, kept.previews) == (None, None, ())
        assert [entry.kind for entry in repository.history("mc1-a")] == ["bought", "saved"]
        assert repository.holds() == {"mc1-b": "a cap"}
        assert list(repository.publications()) == ["specs/a.mp4"]
        assert repository.trim_history(DAY, most=10) == 2
        assert repository.integrity_check() == ()


def test_upgrade_that_fails_changes_nothing(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upgrade is one transaction: one that stops in the middle is as if it had not begun."""
    first_version(database)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("CREATE TABLE ix_event_at (the_name_is_taken)")
    before = _statements(database)
    with pytest.raises(StateError):
        Repository.open(database)
    assert _statements(database) == before
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("DROP TABLE ix_event_at")
    Repository.open(database).close()


def test_several_that_open_a_new_database_at_once_all_find_it_laid_out(tmp_path: Path) -> None:
    """Whoever comes second finds the tables of whoever was first, and makes none."""
    paths = [tmp_path / f"{number}.db" for number in range(8) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        for opened in pool.map(Repository.open, paths):
            assert opened.records() == {}
            opened.close()


def test_database_of_an_older_version_is_not_read_as_it_stands(database: Path) -> None:
    """A reader cannot upgrade, so it says which command does."""
    Repository.open(database).close()
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '0000'")
    with pytest.raises(StateError, match="older version") as caught:
        State.open(database)
    assert "reconciler refresh" in caught.value.hint


def test_start_that_was_killed_before_the_tables_existed_is_repeated(database: Path) -> None:
    """An empty file, as a kill during the very first start leaves it, is no obstacle."""
    database.parent.mkdir()
    database.touch()
    with closing(State.open(database)) as reader:
        assert reader.records() == {}
    with closing(Repository.open(database)) as repository:
        repository.remember("limit", "3")
        assert repository.recall("limit") == "3"


def test_what_older_programs_took_from_receipts_is_known_as_that(database: Path) -> None:
    """An attempt of which nothing but that was ever written is a claim; what was bought or looked at here is not."""
    first_version(database)
    _migrate(database, "0006")
    with closing(sqlite3.connect(database)) as connection, connection:
        for statement in (
            "CREATE TEMP TABLE told AS SELECT * FROM task WHERE external_task_id = 'mc1-a'",
            "UPDATE told SET external_task_id = 'mc1-t', base_id = 'mc1-t', task_id = '9'",
            "INSERT INTO task SELECT * FROM told",
            "INSERT INTO event (external_task_id, at, kind, detail, request_id) VALUES ('mc1-t', 1, 'recalled', '', '')",
        ):
            connection.execute(statement)
    with closing(Repository.open(database)) as repository:
        assert {
            base: one.claimed
            for base, one in repository.records().items()
            if base in {"mc1-a", "mc1-t"}
        } == {
            "mc1-a": False,
            "mc1-t": True,
        }
        assert list(repository.known_results(claimed=False)) == ["a" * 64]
