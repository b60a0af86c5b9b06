"""A backup: one moment of a database that is being written to, whole or not there, and never over anything."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from contextlib import closing
from pathlib import Path

import pytest

from reconciler.core.errors import StateError
from reconciler.store.repository import Repository
from reconciler.store.upkeep import back_up
from tests.store.builders import first_version, fresh, record


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "backups"
    folder.mkdir()
    return folder / "state.db"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def rows(path: Path, table: str) -> int:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    return int(count)


def test_a_backup_under_a_writer_is_one_moment(
    repository: Repository, database: Path, target: Path
) -> None:
    """Each commit holds a task and a line of history; every copy that is made meanwhile has as many of both."""
    over = threading.Event()
    number = 0

    def write() -> None:
        nonlocal number
        while not over.is_set():
            number += 1
            repository.save([fresh(record(f"mc1-{number:026d}"))])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for turn in range(5):
            copy = target.with_name(f"{turn}.db")
            before = number
            assert back_up(database, copy) == copy.stat().st_size
            assert rows(copy, "task") == rows(copy, "event") >= before - 1
    finally:
        over.set()
        writer.join()
    assert names(target.parent) == [f"{turn}.db" for turn in range(5)]
    restored = Repository.open(target.with_name("4.db"))
    assert len(restored.records()) == rows(target.with_name("4.db"), "task")
    restored.close()


def test_a_backup_is_its_users_alone_and_leaves_the_state_as_it_is(
    repository: Repository, database: Path, target: Path
) -> None:
    """Mode 0600 whatever the umask; neither the database nor its folder is changed."""
    repository.save([fresh(record())])
    before = {path: path.stat().st_mtime_ns for path in database.parent.iterdir()}
    umask = os.umask(0)
    try:
        back_up(database, target)
    finally:
        os.umask(umask)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    after = {path: path.stat().st_mtime_ns for path in database.parent.iterdir()}
    assert {path for path in after if not path.name.endswith("-shm")} <= before.keys()
    assert after[database] == before[database]


@pytest.mark.parametrize("kind", ["file", "folder", "link to nothing"])
def test_nothing_is_overwritten(
    repository: Repository, database: Path, target: Path, kind: str
) -> None:
    """Whatever has the name keeps it, and the sentence says what to do."""
    if kind == "file":
        target.write_text("precious")
    elif kind == "folder":
        target.mkdir()
    else:
        target.symlink_to(target.with_name("nowhere"))
    with pytest.raises(StateError, match="is there already") as caught:
        back_up(database, target)
    assert "Name another file" in caught.value.hint
    assert names(target.parent) == ["state.db"]
    assert kind != "file" or target.read_text() == "precious"


def test_where_nothing_can_be_copied_nothing_is_left(database: Path, target: Path) -> None:
    """No state, a file that is no state, a damaged one, no folder for the copy: a sentence, and no file."""
    with pytest.raises(StateError, match="There is no state"):
        back_up(database, target)
    database.parent.mkdir()
    database.write_bytes(b"")
    with pytest.raises(StateError, match="There is no state"):
        back_up(database, target)
    database.unlink()
    repository = Repository.open(database)
    repository.save([fresh(record(f"mc1-{number:026d}")) for number in range(200)])
    repository.close()
    with pytest.raises(StateError, match="cannot be written: No such file"):
        back_up(database, target.with_name("none") / "state.db")
    sound = database.read_bytes()
    page = 4096
    torn = sound[: 3 * page] + bytes(len(sound) - 4 * page) + sound[-page:]
    database.write_bytes(torn)
    with pytest.raises(StateError):
        back_up(database, target)
    assert names(target.parent) == []


def test_a_state_of_another_version_is_copied_as_it_is(database: Path, target: Path) -> None:
    """Before an upgrade, and after one that failed."""
    first_version(database)
    back_up(database, target)
    assert rows(target, "task") == 1
