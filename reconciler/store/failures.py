"""The one door through which a database's errors become the project's. It never tries anything again.

A person reads what is wrong, the driver's short reason, and what to do; never SQL, never a traceback.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError

from reconciler.core.errors import StateError

_MOVE_AWAY = (
    "Move it away together with its -wal and -shm files, keep them, and run again: before anything is bought "
    "the provider is asked for every id and the receipts are read, so what either of them remembers is not "
    "bought twice."
)
_FREE_SPACE = "Free some space and run again; nothing that was recorded is lost."
_PERMISSIONS = (
    "Make the state folder and its files writable, or set RECONCILER_STATE_DIR to a folder that is."
)
_BUSY = "Wait until it is done, or stop it, and run again."

_SENTENCES = {
    sqlite3.SQLITE_CORRUPT: ("{place} is damaged", _MOVE_AWAY),
    sqlite3.SQLITE_NOTADB: ("{place} is not a database of this program", _MOVE_AWAY),
    sqlite3.SQLITE_FULL: ("{place} cannot grow", _FREE_SPACE),
    sqlite3.SQLITE_READONLY: ("{place} cannot be written", _PERMISSIONS),
    sqlite3.SQLITE_PERM: ("{place} cannot be used", _PERMISSIONS),
    sqlite3.SQLITE_CANTOPEN: ("{place} cannot be opened", _PERMISSIONS),
    sqlite3.SQLITE_BUSY: ("Another program holds {place}", _BUSY),
    sqlite3.SQLITE_LOCKED: ("Another program holds {place}", _BUSY),
    sqlite3.SQLITE_IOERR: ("The disk failed under {place}", "Check the disk, then run again."),
    sqlite3.SQLITE_CONSTRAINT: ("{place} refused a change that contradicts what it holds", ""),
}
_OURS = (sqlite3.ProgrammingError, sqlite3.InterfaceError, sqlite3.NotSupportedError)
_PRIMARY = 0xFF  # SQLite's extended codes keep the primary one in their low byte


@contextmanager
def translated(place: str) -> Iterator[None]:
    """Turn what the database says against us into a StateError that names `place`; a mistake of ours stays one."""
    try:
        yield
    except (UnicodeEncodeError, OverflowError) as error:
        raise StateError(f"`{place}` cannot hold a value that it was given ({error}).") from error
    except (DBAPIError, sqlite3.Error) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        if not isinstance(cause, sqlite3.Error) or isinstance(cause, _OURS):
            raise  # a statement that no database could carry out, or a connection of ours that is closed
        raise _state_error(place, cause) from error


def garbled(what: str) -> StateError:
    """Return the error for a database that holds what no version of this program writes."""
    return StateError(f"The state database is damaged ({what}).", hint=_MOVE_AWAY)


def _state_error(place: str, cause: sqlite3.Error) -> StateError:
    code = getattr(cause, "sqlite_errorcode", 0) & _PRIMARY
    reason = next(iter(str(cause).splitlines()), type(cause).__name__)
    sentence, hint = _SENTENCES.get(code, ("{place} cannot be used", ""))
    return StateError(f"{sentence.format(place=f'`{place}`')} ({reason}).", hint=hint)
