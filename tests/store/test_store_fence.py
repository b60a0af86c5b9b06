"""Whoever writes knows that what it holds open is still what lies on the disk; if not, it records no intent."""

from __future__ import annotations

import fcntl
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from sqlalchemy import Connection

from reconciler.core.errors import StateError, StateLocked, StateReplaced
from reconciler.core.states import Record, Status
from reconciler.store.caps import check_caps
from reconciler.store.lock import StateLock
from reconciler.store.repository import Repository
from reconciler.store.state import State
from reconciler.store.values import Caps, Change, Spent

from .builders import DAY, NO_CAPS, fresh, plain_user, record


@pytest.fixture
def writer(database: Path) -> Iterator[Repository]:
    """The only writer of a state folder, as the commands open it; it has bought something already."""
    with StateLock(database.parent) as lock:
        repository = Repository.open(database, locks=[lock])
        _intend(repository, "mc1-before")
        yield repository
        repository.close()


def _intend(repository: Repository, base_id: str) -> None:
    repository.record_intent(fresh(record(base_id)), caps=NO_CAPS, run_id="run")


def _removed(state: Path) -> None:
    shutil.rmtree(state)


def _moved(state: Path) -> None:
    state.rename(state.with_name("state.old"))


def _made_anew(state: Path) -> None:
    _moved(state)
    state.mkdir()
    with StateLock(state) as lock, closing(Repository.open(state / "reconciler.db", locks=[lock])):
        pass


def _led_elsewhere(state: Path) -> None:
    elsewhere = state.with_name("elsewhere")
    shutil.copytree(state, elsewhere)
    _moved(state)
    state.symlink_to(elsewhere)


def _swapped(name: str) -> Callable[[Path], None]:
    def happen(state: Path) -> None:
        copy = state / "copy"
        copy.write_bytes((state / name).read_bytes())
        copy.replace(state / name)

    return happen


def _deleted(name: str) -> Callable[[Path], None]:
    return lambda state: (state / name).unlink()


def _restored_in_place(state: Path) -> None:
    """As `cp backup state/reconciler.db`: the same file, with other bytes in it."""
    backup = state.parent / "backup.db"
    with closing(Repository.open(backup)):
        pass
    (state / "reconciler.db").write_bytes(backup.read_bytes())


_HAPPENINGS = {
    "git clean or rm -rf": _removed,
    "mv state state.old": _moved,
    "another state in its place": _made_anew,
    "a link in its place": _led_elsewhere,
    "the lock deleted": _deleted("lock"),
    "the lock replaced": _swapped("lock"),
    "the database deleted": _deleted("reconciler.db"),
    "the database replaced": _swapped("reconciler.db"),
    "the log deleted": _deleted("reconciler.db-wal"),
    "the log replaced": _swapped("reconciler.db-wal"),
    "the index of the log deleted": _deleted("reconciler.db-shm"),
    "a backup copied over it": _restored_in_place,
}


@pytest.mark.parametrize("happen", _HAPPENINGS.values(), ids=_HAPPENINGS)
def test_what_is_no_longer_on_disk_by_its_name_takes_no_intent(
    writer: Repository, database: Path, happen: Callable[[Path], None]
) -> None:
    """One sentence with the place and a remedy, for an intent, for any other change, and where nothing changes."""
    happen(database.parent)
    changes: list[Callable[[], object]] = [
        lambda: _intend(writer, "mc1-after"),
        lambda: writer.save(
            [Change(record("mc1-before", status=Status.PENDING), Status.SUBMITTING)]
        ),
        lambda: writer.remember("slots", "3"),
        lambda: writer.tidy(now=DAY),
        writer.require_in_place,
    ]
    for change in changes:
        with pytest.raises(StateReplaced, match=str(database.parent)) as caught:
            change()
        assert caught.value.hint
        assert "\n" not in caught.value.message
    if database.exists() and database.with_name("reconciler.db-wal").exists():
        with closing(State.open(database)) as found:
            assert "mc1-after" not in found.records()


@pytest.mark.parametrize("happen", _HAPPENINGS.values(), ids=_HAPPENINGS)
def test_what_happens_while_an_intent_is_written_stops_its_create(
    writer: Repository,
    database: Path,
    happen: Callable[[Path], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`record_intent` does not return, so nothing is sent, though the folder went after the first check."""

    def late(connection: Connection, new: Record, caps: Caps, *, run_id: str) -> Spent:
        happen(database.parent)
        return check_caps(connection, new, caps, run_id=run_id)

    monkeypatch.setattr("reconciler.store.repository.check_caps", late)
    with pytest.raises(StateReplaced):
        _intend(writer, "mc1-after")


def test_own_work_and_readers_are_no_replacement(writer: Repository, database: Path) -> None:
    """A long life of changes, housekeeping, checkpoints and readers that come and go stops nothing."""
    for number in range(300):
        _intend(writer, f"mc1-{number}")
        if number % 30 == 0:
            with closing(State.open(database)) as reader:
                assert len(reader.records()) == number + 2
            writer.tidy(now=DAY + number * 3_600_000)
    for _ in range(3):
        writer.remember(
            "long", "x" * 3_000_000
        )  # more than SQLite's log takes without a checkpoint
    writer.integrity_check()
    writer.require_in_place()


def test_a_lock_that_cannot_be_looked_at_is_no_replacement_and_buys_nothing(
    open_folder: Path,
) -> None:
    """Where nobody can tell, nothing is bought; a run that goes on tries again later."""
    state = open_folder / "state"
    with (
        StateLock(state) as lock,
        closing(Repository.open(state / "reconciler.db", locks=[lock])) as writer,
    ):
        _intend(writer, "mc1-before")
        state.chmod(0o000)
        with (
            plain_user(open_folder),
            pytest.raises(StateError, match="cannot be accessed") as caught,
        ):
            _intend(writer, "mc1-after")
        state.chmod(0o755)
        assert not isinstance(caught.value, StateReplaced)
        _intend(writer, "mc1-after")


def test_lock_on_a_deleted_file_is_no_lock(tmp_path: Path) -> None:
    """While one waits for a lock, its file is deleted and another process locks the new one: only that one has it."""
    path = tmp_path / "lock"
    path.write_text("")
    entered, outcome = threading.Event(), list[object]()

    def wait_for_it() -> None:
        entered.set()
        try:
            StateLock(tmp_path).acquire()
        except StateLocked as error:
            outcome.append(error)

    with path.open() as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        waiting = threading.Thread(target=wait_for_it)
        waiting.start()
        entered.wait()
        while not _waits_for(path):
            pass
        path.unlink()
        with StateLock(tmp_path):
            fcntl.flock(looking, fcntl.LOCK_UN)
            waiting.join(10)
    assert len(outcome) == 1


def _waits_for(path: Path) -> bool:
    """Whether this process has the file open a second time."""
    found = []
    for place in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found.append(place.readlink())
    return found.count(path) > 1


def test_database_that_is_written_by_another_program_through_sqlite_stays_ours(
    writer: Repository, database: Path
) -> None:
    """Somebody's sqlite3 shell that looks, and even writes, follows SQLite's rules: it replaces nothing."""
    with closing(sqlite3.connect(database)) as shell:
        assert shell.execute("SELECT count(*) FROM task").fetchone() == (1,)
        shell.execute("INSERT INTO memory VALUES ('k', 'v')")
        shell.commit()
    _intend(writer, "mc1-after")
