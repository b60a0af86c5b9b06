"""The database's file stays in proportion to what it holds, and nobody waits for that."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from reconciler.store import upkeep
from reconciler.store.repository import Repository
from reconciler.store.state import State
from reconciler.store.values import HistoryEntry

from .builders import first_version, fresh, record

_MEBIBYTE = 1024 * 1024
_LATER = 600_000  # ms: when a database that was tidy is looked at again


def _bloat(repository: Repository, lines: int) -> None:
    """Write 1 KiB of old history for each line, and trim it all."""
    repository.note([HistoryEntry("mc1-old", 1, "seen", "x" * 1000) for _ in range(lines)])
    assert repository.trim_history(2, most=lines) == lines


def _wal(database: Path) -> Path:
    return database.with_name("reconciler.db-wal")


@contextmanager
def _in_the_middle_of_reading(database: Path) -> Iterator[sqlite3.Connection]:
    """Another process's look that has begun and not ended; its connection waits for nobody."""
    address = f"file:{database}?mode=ro"
    with closing(sqlite3.connect(address, uri=True, timeout=0, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM task").fetchone()
        yield reader


def test_free_pages_are_given_back_a_piece_at_a_time(
    repository: Repository, database: Path
) -> None:
    """A file that is mostly air shrinks by some MiB at each call until little is left; nothing is lost."""
    repository.save([fresh(record())])
    _bloat(repository, 20_000)
    repository.tidy(now=1)
    sizes = [database.stat().st_size]
    for _ in range(20):
        repository.tidy(now=1)
        sizes.append(database.stat().st_size)
    assert all(0 <= a - b <= 5 * _MEBIBYTE for a, b in pairwise(sizes))
    assert sizes[0] > 10 * _MEBIBYTE
    assert sizes[-1] < 6 * _MEBIBYTE
    assert repository.records() == {"mc1-a": record()}
    assert repository.integrity_check() == ()


def test_little_air_is_kept_for_the_next_lines(repository: Repository, database: Path) -> None:
    """A few free MiB, or few in proportion, are not worth moving pages for."""
    _bloat(repository, 3_000)
    repository.tidy(now=1)
    size = database.stat().st_size
    assert size > 3 * _MEBIBYTE
    repository.tidy(now=1 + _LATER)
    assert database.stat().st_size == size


def test_journal_is_emptied(repository: Repository, database: Path) -> None:
    """After a call the write-ahead log takes no room, and what it held is in the file."""
    repository.save([fresh(record())])
    assert _wal(database).stat().st_size > 0
    repository.tidy(now=1)
    assert _wal(database).stat().st_size == 0
    assert repository.records() == {"mc1-a": record()}


def test_calls_are_free_once_all_is_tidy(repository: Repository, database: Path) -> None:
    """The next look is ten minutes later, or at once when the clock was set back."""
    repository.tidy(now=_LATER)
    for now, is_looked_at in ((_LATER + 1, False), (2 * _LATER, True), (5, True)):
        repository.save([fresh(record(f"mc1-{now}"))])
        repository.tidy(now=now)
        assert (_wal(database).stat().st_size == 0) == is_looked_at


def test_reader_is_neither_disturbed_nor_waited_for(repository: Repository, database: Path) -> None:
    """A look that has begun sees what it saw, and holds up nothing; its end lets the file shrink."""
    repository.save([fresh(record())])
    _bloat(repository, 12_000)
    with _in_the_middle_of_reading(database) as reader:
        repository.save([fresh(record("mc1-b"))])
        started = time.monotonic()
        for _ in range(10):
            repository.tidy(now=1)
        assert time.monotonic() - started < 4.0  # one wait for a reader would be 5 s
        assert reader.execute("SELECT count(*) FROM task").fetchone() == (1,)
    with closing(State.open(database)) as reading:
        assert len(reading.records()) == 2
    repository.tidy(now=1 + _LATER)
    assert database.stat().st_size < 6 * _MEBIBYTE


def test_other_writer_is_left_alone(repository: Repository, database: Path) -> None:
    """When somebody else writes there is no waiting and no error; every other verb still waits its turn."""
    _bloat(repository, 12_000)
    with closing(sqlite3.connect(database, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        started = time.monotonic()
        repository.tidy(now=1)
        assert time.monotonic() - started < 4.0
        end = threading.Timer(0.2, other.execute, ["ROLLBACK"])
        end.start()
        repository.save([fresh(record())])
        end.join()
    for turn in range(2, 22):
        repository.tidy(now=turn * _LATER)
    assert database.stat().st_size < 6 * _MEBIBYTE


def test_file_of_the_first_version_shrinks_too(database: Path) -> None:
    """A file that cannot give back single pages is copied once, and can from then on."""
    first_version(database)
    with closing(Repository.open(database)) as repository:
        _bloat(repository, 12_000)
        repository.tidy(now=1)
        assert database.stat().st_size < _MEBIBYTE
        assert list(repository.records()) == ["mc1-a"]
        assert repository.integrity_check() == ()
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("PRAGMA auto_vacuum").fetchone() == (2,)


def test_long_file_of_the_first_version_is_not_copied(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a copy would hold up the writer the free pages stay, to be used again."""
    monkeypatch.setattr(upkeep, "_SMALL", 4096)
    first_version(database)
    with closing(Repository.open(database)) as repository:
        _bloat(repository, 12_000)
        repository.tidy(now=1)
        size = database.stat().st_size
        assert size > 10 * _MEBIBYTE
        _bloat(repository, 10_000)
        repository.tidy(now=1 + _LATER)
        assert database.stat().st_size == size
