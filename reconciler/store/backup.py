"""A copy of the database as it is at one moment, while others may write to it: whole and verified, or not there at all.

Objects are not in it: each is a file that never changes, under the digest of its bytes, and is copied as one.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from reconciler.core.errors import StateError
from reconciler.disk import give_name, sync, sync_folder
from reconciler.store import schema
from reconciler.store.database import open_for_reading
from reconciler.store.durable import make_private, open_regular

_PART = ".part"


def back_up(database: Path, target: Path) -> int:
    """Copy a database to a file that is not there yet, for its user alone; return its size in bytes.

    Raises StateError where there is no state, the copy is not sound, or the file is there or cannot be written.
    """
    if (source := open_for_reading(database)) is None:
        raise _nothing(database)
    part = target.with_name(f"{target.name}{_PART}")
    with closing(source):
        if not schema.is_ours(source):
            raise _nothing(database)
        try:
            if os.path.lexists(target):
                raise _taken(target)
            _clear(part)
            make_private(part)
            with closing(sqlite3.connect(part, isolation_level=None)) as copy:
                source.copy_into(copy)
                copy.execute("PRAGMA journal_mode = DELETE")  # one file, with nothing beside it
                _verify(copy, target)
            return _land(part, target)
        except (OSError, sqlite3.Error) as error:
            said = error.strerror if isinstance(error, OSError) else str(error)
            raise StateError(
                f"The backup `{target}` cannot be written: {said}.",
                hint="Name a file in a folder that is there, may be written, and has room.",
            ) from error
        finally:
            with suppress(OSError):
                _clear(part)


def _clear(part: Path) -> None:
    for end in ("-journal", "-wal", "-shm", ""):  # SQLite would take what lies beside for its own
        part.with_name(f"{part.name}{end}").unlink(missing_ok=True)


def _verify(copy: sqlite3.Connection, target: Path) -> None:
    found = [line for (line,) in copy.execute("PRAGMA integrity_check") if line != "ok"]
    if found:
        raise StateError(
            f"The copy for `{target}` is not sound, so no backup was made: {found[0]}.",
            hint="`reconciler doctor` says how the database is.",
        )


def _land(part: Path, target: Path) -> int:
    """Give a durable copy its name, unless something has it by now."""
    descriptor = open_regular(part)
    try:
        sync(descriptor)
        size = os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)
    try:
        give_name(part, target)
    except FileExistsError:
        raise _taken(target) from None
    sync_folder(target.parent)
    return size


def _nothing(database: Path) -> StateError:
    return StateError(
        f"There is no state at `{database}`, so there is nothing to back up.",
        hint="Name the project's root with --root.",
    )


def _taken(target: Path) -> StateError:
    return StateError(
        f"`{target}` is there already, and a backup never overwrites anything.",
        hint="Name another file, such as one with today's date.",
    )
