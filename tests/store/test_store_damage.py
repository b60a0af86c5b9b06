"""Whatever is wrong with the database, a person reads a sentence and a hint; whoever kills us loses nothing."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from reconciler.core.errors import StateError
from reconciler.core.states import Role, Status
from reconciler.store import database as database_module
from reconciler.store.repository import Repository
from reconciler.store.state import State
from reconciler.store.values import Change, Publication
from reconciler.store.writing import open_for_writing
from tests.support.database import open_repository

from .builders import fresh, plain_user, record

_WRITE_FOR_EVER = """
import sys
from reconciler.store.repository import Repository
from tests.store.builders import fresh, record
repository = Repository.open(sys.argv[1])
for batch in range(10**6):
    repository.save([fresh(record(f"{batch}-{number}")) for number in range(20)])
    print(batch, flush=True)
"""


def _filled(path: Path) -> None:
    with closing(open_repository(path)) as repository:
        repository.save(
            [fresh(record(f"mc1-{number}", request="x" * 500)) for number in range(400)]
        )


def _use(path: Path, kind: type[State]) -> None:
    with closing(kind.open(path)) as state:
        state.records()
        state.history("mc1-1")
        if isinstance(state, Repository):
            state.save([fresh(record("mc1-new"))])


def _failure(path: Path, kind: type[State] = Repository) -> StateError:
    """Open, read and write until something is refused."""
    with pytest.raises(StateError) as caught:
        _use(path, kind)
    assert not re.search(r"SELECT|INSERT|sqlalche|Traceback|\n", caught.value.message)
    return caught.value


@pytest.mark.parametrize("kind", [Repository, State])
def test_file_that_is_no_database(database: Path, kind: type[State]) -> None:
    """A text file in the database's place is said to be none, and stays as it is."""
    database.parent.mkdir()
    database.write_text("not a database, but somebody's notes\n" * 200)
    failure = _failure(database, kind)
    assert "is not a database" in failure.message
    assert "Move it away" in failure.hint
    assert database.read_text().startswith("not a database")


@pytest.mark.parametrize("kind", [Repository, State])
def test_truncated_database(database: Path, kind: type[State]) -> None:
    """Half a database is called damaged; the hint promises no more than the contract does."""
    _filled(database)
    os.truncate(database, database.stat().st_size // 2)
    failure = _failure(database, kind)
    assert f"`{database}` is damaged" in failure.message
    assert "what either of them remembers is not bought twice" in failure.hint


@pytest.mark.parametrize("kind", [Repository, State])
def test_schema_whose_names_are_no_text(database: Path, kind: type[State]) -> None:
    """SQLite quotes the damaged name in its error, which then is no text itself: the sentence says `damaged` all the same."""
    Repository.open(database).close()
    content = database.read_bytes()
    at = content.index(b"CREATE TABLE task") - 8  # its name, twice
    database.write_bytes(content[:at] + b"\xff\xfe\xfd\xfc" + content[at + 4 :])
    with pytest.raises(StateError, match="damaged") as caught:
        kind.open(database)
    assert "Move it away" in caught.value.hint


def test_database_with_garbage_in_the_middle(database: Path) -> None:
    """Pages overwritten with noise are called damaged."""
    _filled(database)
    content = bytearray(database.read_bytes())
    content[4096 * 2 : -4096] = b"\xa5" * (len(content) - 4096 * 3)
    database.write_bytes(content)
    assert "is damaged" in _failure(database).message


@pytest.mark.parametrize(
    "change", ["status = 'dreaming'", "estimated_units = 'much'", "units = 'x'"]
)
def test_value_that_nobody_writes(database: Path, change: str) -> None:
    """A word or an amount that no version writes is damage, not a traceback."""
    _filled(database)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(f"UPDATE task SET {change} WHERE base_id = 'mc1-1'")
    failure = _failure(database)
    assert "is damaged (the record of mc1-1 makes no sense)" in failure.message


@pytest.mark.parametrize(
    "change",
    [
        "task SET external_task_id = x'00'",
        "task SET attempt = 'two'",
        "task SET intent_at = 'yesterday'",
        "task SET estimated_units = '1e999999999'",
        "task SET estimated_units = 'NaN'",
        "publication SET path = x'00'",
        "publication SET inode = '0.0'",
        "publication SET size = 'large'",
        "hold SET reason = x'ff'",
    ],
)
def test_value_of_another_kind(database: Path, change: str) -> None:
    """SQLite holds anything anywhere; what is no text, no number or no amount where one belongs is damage."""
    _filled(database)
    with closing(Repository.open(database)) as repository:
        repository.publish([Publication("specs/a.mp4", "mc1-1", Role.VIDEO, "0" * 64, 1, 2, 3)])
        repository.replace_holds({"mc1-1": "why"}, now=1)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(f"UPDATE OR IGNORE {change}")
    with closing(State.open(database)) as reader:
        read: dict[str, Callable[[], object]] = {
            "task": reader.records,
            "publication": reader.publications,
            "hold": reader.holds,
        }
        with pytest.raises(StateError, match="is damaged"):
            read[change.split(maxsplit=1)[0]]()


def test_role_that_nobody_writes(database: Path) -> None:
    """So is a role that does not exist."""
    _filled(database)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("INSERT INTO result VALUES ('mc1-1', 'soundtrack', '', 0, 0, 0, 0)")
    assert "'soundtrack' is not a role" in _failure(database).message


def test_folder_that_cannot_be_written(open_folder: Path) -> None:
    """In a read-only folder writing is refused with a hint, and reading still works."""
    path = open_folder / "reconciler.db"
    _filled(path)
    open_folder.chmod(0o555)
    path.chmod(0o444)
    with plain_user(open_folder):
        failure = _failure(path)
        with closing(State.open(path)) as reader:
            assert len(reader.records()) == 400
    assert "cannot be" in failure.message
    assert "RECONCILER_STATE_DIR" in failure.hint


def test_folder_that_cannot_be_created(open_folder: Path) -> None:
    """A state folder that cannot be made is said, with its name."""
    open_folder.chmod(0o555)
    with plain_user(open_folder):
        failure = _failure(open_folder / "state" / "reconciler.db")
    assert f"`{open_folder / 'state'}` cannot be created: Permission denied" in failure.message


def test_database_held_by_another_program(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock that does not go away in time is said as such."""
    monkeypatch.setattr(database_module, "BUSY_TIMEOUT", 0.1)
    _filled(database)
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        failure = _failure(database)
    assert failure.message.startswith("Another program holds")


def test_full_disk_loses_nothing(database: Path) -> None:
    """When the file cannot grow the change is refused as a whole, and what was there stays."""
    with closing(open_for_writing(database)) as opened:
        repository = Repository.open(database)
        repository.save([fresh(record())])
        repository.close()
        with opened.read() as connection:
            pages = connection.execute("PRAGMA page_count").fetchone()[0]
            connection.execute(f"PRAGMA max_page_count = {pages}")
        full = Repository(opened)
        with pytest.raises(StateError, match="cannot grow") as caught:
            full.save([fresh(record(f"mc1-{i}", request="x" * 9000)) for i in range(50)])
        assert "Free some space" in caught.value.hint
        assert full.records() == {"mc1-a": record()}
        full.save([Change(record(status=Status.FAILED), Status.SUBMITTING)])


@pytest.mark.parametrize("name", ["reconciler.db", "reconciler.db-wal", "reconciler.db-shm"])
@pytest.mark.parametrize("kind", [Repository, State])
def test_planted_link_is_not_followed(database: Path, name: str, kind: type[State]) -> None:
    """A link under a name that SQLite opens would lead it out of the folder, so it is refused."""
    outside = database.parent.parent / "outside"
    outside.write_bytes(b"")
    database.parent.mkdir()
    database.with_name(name).symlink_to(outside)
    assert "is not a regular file" in _failure(database, kind).message
    assert outside.read_bytes() == b""


def test_every_connection_is_durable(database: Path) -> None:
    """A commit that returned is on disk, and foreign keys are checked."""
    wanted = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 5000}
    with closing(open_for_writing(database)) as opened, opened.read() as connection:
        for name, value in wanted.items():
            assert connection.execute(f"PRAGMA {name}").fetchone() == (value,)


def test_durable_write_is_synced_whatever_was_written_before(database: Path) -> None:
    """One connection takes both in turn: each transaction begins with the care that it was asked for."""
    opened = open_for_writing(database)
    with closing(opened):
        for durable in (True, False, True, False, False, True):
            with opened.write(durable=durable) as connection:
                (care,) = connection.exec_driver_sql("PRAGMA synchronous").one()
            assert care == (2 if durable else 1)  # FULL, NORMAL


@pytest.mark.parametrize("batches", [1, 7])
def test_killed_writer_leaves_every_finished_change_and_no_half_one(
    database: Path, batches: int
) -> None:
    """After SIGKILL in the middle of writing, all that was acknowledged is there, and batches are whole."""
    command = [sys.executable, "-c", _WRITE_FOR_EVER, str(database)]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as process:
        assert process.stdout is not None
        for _ in range(batches):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        acknowledged = batches + len(process.stdout.readlines())
    with closing(Repository.open(database)) as repository:
        found = len(repository.records())
        repository.save([fresh(record("mc1-after"))])
        assert repository.integrity_check() == ()
    assert found % 20 == 0
    assert found >= 20 * acknowledged


def test_integrity_check_sees_what_reading_does_not(database: Path) -> None:
    """An index that lost an entry reads well, and is found by the check that `doctor` runs."""
    _filled(database)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "UPDATE sqlite_master SET sql = replace(sql, 'run_id)', 'status)') "
            "WHERE name = 'ix_task_run_id'"
        )
    with closing(State.open(database)) as reader:
        assert len(reader.records()) == 400
        assert reader.integrity_check() != ()
