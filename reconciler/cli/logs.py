"""The daemon's log: a line for every event, for people or for machines, on stderr or in a file. Decides nothing.

A log is never worth the work that it tells of: a full disk or a reader that has gone costs lines and nothing else.
What comes from elsewhere (names, the provider's words) cannot begin a line of its own.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Literal

from reconciler.core.errors import SettingsError
from reconciler.core.printable import printable
from reconciler.core.progress import Topic
from reconciler.core.states import ENDED, Record, Status

_OLD_FILES = 3
_CREATE = os.O_CREAT | os.O_NOFOLLOW
_NEEDS_SOMEBODY = frozenset({Status.FAILED, Status.REJECTED, Status.EXPIRED, Status.BLOCKED})


@dataclass(frozen=True, slots=True)
class Entry:
    """One event, as the log tells it; what does not apply is empty."""

    event: Literal["changed", "held", "warning", "info"]
    message: str  # the console's line, without the time
    external_task_id: str = ""
    spec: str = ""
    label: str = ""
    status: str = ""
    reason: str = ""


class LogReporter:
    """A reporter for a log; may be told from any thread."""

    def __init__(self, handler: logging.Handler) -> None:
        self._log = logging.Logger(
            "reconciler"
        )  # of its own: others configure the root as they like
        self._log.addHandler(handler)
        self._held: dict[str, str] = {}

    def changed(self, record: Record) -> None:
        """Log a record's new status or reason."""
        if record.status in ENDED:
            self._held.pop(record.base_id, None)
        self._tell("changed", record, record.status, record.reason)

    def held(self, record: Record, reason: str) -> None:
        """Log why a generation stays where it is; the same reason once."""
        if self._held.get(record.base_id) != reason:
            self._held[record.base_id] = reason
            self._tell("held", record, Status.BLOCKED, reason)

    def say(self, message: str, topic: Topic = Topic.OTHER) -> None:  # noqa: ARG002 - all are logged
        """Log something that concerns everybody."""
        self._log.warning(Entry("warning", f"warning: {message}", reason=message))

    def info(self, sentence: str) -> None:
        """Log how the daemon itself does."""
        self._log.info(Entry("info", sentence))

    def _tell(
        self, event: Literal["changed", "held"], record: Record, status: Status, reason: str
    ) -> None:
        name = f"{record.spec} [{record.label}]" if record.label else record.spec
        said = " ".join(filter(None, (status, name, record.external_task_id)))
        entry = Entry(
            event,
            f"{said}  {reason}" if reason else said,
            record.external_task_id,
            record.spec,
            record.label,
            status,
            reason,
        )
        self._log.log(logging.WARNING if status in _NEEDS_SOMEBODY else logging.INFO, entry)


@contextmanager
def open_log(
    form: Literal["console", "json"], file: Path | None, max_bytes: int
) -> Iterator[LogReporter]:
    """Open the log: a file of at most `max_bytes` beside three older ones, or stderr.

    Raises:
        SettingsError: the file cannot be written.
    """
    handler = _OnStderr() if file is None else _in_file(file, max_bytes)
    handler.setFormatter(_Json() if form == "json" else _Console())
    try:
        yield LogReporter(handler)
    finally:
        with suppress(OSError):  # the last lines of a full disk
            handler.close()


class _OnStderr(logging.Handler):
    """Lines on whatever stderr is now, and nowhere when there is none any more."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, or lose it."""
        # Not through `sys.stderr`: it would keep what a reader that has gone did not take, and fail at the exit.
        # AttributeError: there was none when the program began, and its number belongs to another file by now.
        with suppress(OSError, ValueError, AttributeError):
            line = (self.format(record) + "\n").encode("utf-8", "backslashreplace")
            while line:
                line = line[os.write(sys.stderr.fileno(), line) :]


class _RotatingFile(RotatingFileHandler):
    def _open(self) -> TextIOWrapper:
        """Open a file of our own: lines that go through a link end up in somebody else's."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
        is_link = Path(self.baseFilename).is_symlink()  # to a terminal or a pipe is fine
        descriptor = os.open(self.baseFilename, flags if is_link else flags | _CREATE, 0o600)
        found = os.fstat(descriptor)
        if stat.S_ISREG(found.st_mode) and (is_link or found.st_nlink > 1):
            os.close(descriptor)
            raise OSError(errno.EMLINK, "it is a link to another file")
        return open(descriptor, "a", encoding=self.encoding, errors=self.errors)  # noqa: PTH123 - a descriptor, which the handler closes

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the library's name
        """Lose the line: what cannot be written down must not be told in a traceback either."""


def _in_file(file: Path, max_bytes: int) -> logging.Handler:
    try:
        return _RotatingFile(
            file,
            maxBytes=max_bytes,
            backupCount=_OLD_FILES,
            encoding="utf-8",
            errors="backslashreplace",
        )
    except OSError as error:
        raise SettingsError(
            f"RECONCILER_LOG_FILE: `{file}` cannot be written: {error.strerror}",
            hint="Name a file in a folder that is there and may be written.",
        ) from None


class _Console(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created).astimezone()
        return printable(f"{at:%Y-%m-%d %H:%M:%S} {_entry(record).message}")


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created).astimezone()
        head = {
            "time": at.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
        }
        return printable(json.dumps(head | asdict(_entry(record)), ensure_ascii=False))


def _entry(record: logging.LogRecord) -> Entry:
    entry = record.msg
    assert isinstance(entry, Entry)
    return entry
