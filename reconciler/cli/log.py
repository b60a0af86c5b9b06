"""What the daemon reports while it runs: to its log, to the user's notification services, and to systemd.

A full disk or a reader that has gone costs lines of the log, never the work itself.
"""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import socket
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Literal

from reconciler.core.diff import NEEDS_SOMEBODY
from reconciler.core.errors import SettingsError
from reconciler.core.printable import labelled, printable
from reconciler.core.progress import Topic
from reconciler.core.states import ENDED, Record, Status
from reconciler.notifications.notifier import Notice, Notifier
from reconciler.settings.definitions import Settings
from reconciler.workspace.files.root import Root

_OLD_FILES = 3
_CREATE = os.O_CREAT | os.O_NOFOLLOW
_PARTING = 2.0  # seconds for the last notifications, out of the five that a stop may take
_KINDS = {
    Status.COMPLETE: Notice.COMPLETE,
    **dict.fromkeys((Status.FAILED, Status.REJECTED, Status.EXPIRED), Notice.FAILED),
}
_TOPICS = {Topic.ACCOUNT: Notice.ACCOUNT, Topic.CAP: Notice.CAP}
Event = Literal["changed", "held", "warning", "info"]


class QuietReporter:
    """The base of reporters: prints warnings, ignores single generations, reports each reason to hold one once."""

    def __init__(self) -> None:
        self._held: dict[str, str] = {}

    def changed(self, record: Record) -> None:
        """Report a record's new status or reason."""
        if record.status in ENDED:
            self._held.pop(record.base_id, None)
        self._tell("changed", record, record.status, record.reason)

    def held(self, record: Record, reason: str) -> None:
        """Report why a generation stays where it is."""
        if self._held.get(record.base_id) != reason:
            self._held[record.base_id] = reason
            self._tell("held", record, Status.BLOCKED, reason)

    def say(self, message: str, topic: Topic = Topic.OTHER) -> None:  # noqa: ARG002
        """Print a warning that is about no single generation."""
        from reconciler.cli.terminal import warn  # a log needs no stderr

        warn(message)

    def _tell(self, event: Event, record: Record, status: Status, reason: str) -> None:
        """Report an event of one generation; here: do nothing."""


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One event of the log; a field that does not apply is empty."""

    event: Event
    message: str  # the console's line, without the time
    external_task_id: str = ""
    spec: str = ""
    label: str = ""
    status: str = ""
    reason: str = ""


class LogReporter(QuietReporter):
    """A reporter that writes a log and notifies the user's services; may be called from any thread."""

    def __init__(self, handler: logging.Handler) -> None:
        super().__init__()
        self.notifier: Notifier | None = None
        self._log = logging.Logger("reconciler")  # of its own: others configure the root's
        self._log.addHandler(handler)

    def say(self, message: str, topic: Topic = Topic.OTHER) -> None:
        """Log and notify a warning that is about no single generation."""
        self._log.warning(LogEntry("warning", f"warning: {message}", reason=message))
        self._notify(_TOPICS.get(topic), message)

    def info(self, sentence: str) -> None:
        """Log a sentence about the daemon itself."""
        self._log.info(LogEntry("info", sentence))

    def _notify(self, kind: Notice | None, sentence: str) -> None:
        if self.notifier and kind:
            self.notifier.tell(kind, sentence)

    def _tell(self, event: Event, record: Record, status: Status, reason: str) -> None:
        name = labelled(record.spec, record.label)
        said = " ".join(filter(None, (status, name, record.external_task_id)))
        message = f"{said}  {reason}" if reason else said
        entry = LogEntry(
            event, message, record.external_task_id, record.spec, record.label, status, reason
        )
        self._log.log(logging.WARNING if status in NEEDS_SOMEBODY else logging.INFO, entry)
        why = f": {reason}" if reason else ""
        self._notify(_KINDS.get(status), f"{name} ({record.external_task_id}) is {status}{why}")


@contextmanager
def open_report(settings: Settings, root: Path) -> Iterator[LogReporter]:
    """Open the daemon's log and the services; raises SettingsError: a URL is wrong, or the file cannot be written."""
    file = None if settings.log_file is None else root / settings.log_file
    if file is not None and Root(root).leads_out(file):
        why = f"RECONCILER_LOG_FILE: a link takes `{file}` out of the project"
        hint = "Remove the link, or name a file in another folder."
        raise SettingsError(why, hint=hint)
    urls = settings.notify_urls.get_secret_value().split() if settings.notify_urls else []
    with open_log(settings.log_format, file, settings.log_max_bytes) as log:
        log.notifier = Notifier(urls, settings.notify_on, trouble=log.say)
        try:
            yield log
        finally:
            log.notifier.close(_PARTING)


@contextmanager
def open_log(
    form: Literal["console", "json"], file: Path | None, max_bytes: int
) -> Iterator[LogReporter]:
    """Open the log: stderr, or a file of at most `max_bytes` beside three older ones; raises SettingsError."""
    handler: logging.Handler = _OnStderr()
    if file is not None:
        try:
            handler = _RotatingFile(file, maxBytes=max_bytes, backupCount=_OLD_FILES)
        except OSError as error:
            why = f"RECONCILER_LOG_FILE: `{file}` cannot be written: {error.strerror}"
            hint = "Name a file in a folder that is there and may be written."
            raise SettingsError(why, hint=hint) from None
    handler.setFormatter(_Line(as_json=form == "json"))
    try:
        yield LogReporter(handler)
    finally:
        with suppress(OSError):  # the last lines of a full disk
            handler.close()


class _OnStderr(logging.Handler):
    """Writes lines to the current stderr; drops them where it is closed."""

    def emit(self, record: logging.LogRecord) -> None:
        # Not through `sys.stderr`, which would keep unwritten text and fail at the exit. AttributeError: it is None.
        with suppress(OSError, ValueError, AttributeError):
            line = (self.format(record) + "\n").encode("utf-8", "backslashreplace")
            while line:
                line = line[os.write(sys.stderr.fileno(), line) :]


class _RotatingFile(RotatingFileHandler):
    def _open(self) -> TextIOWrapper:
        """Open the file, which must be this log's own: a link would lead lines into another program's file."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
        is_link = Path(self.baseFilename).is_symlink()  # to a terminal or a pipe is fine
        descriptor = os.open(self.baseFilename, flags if is_link else flags | _CREATE, 0o600)
        found = os.fstat(descriptor)
        if stat.S_ISREG(found.st_mode) and (is_link or found.st_nlink > 1):
            os.close(descriptor)
            raise OSError(errno.EMLINK, "it is a link to another file")
        return open(descriptor, "a", encoding="utf-8", errors="backslashreplace")  # noqa: PTH123 - a descriptor, which the handler closes

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the library's name
        """Drop the line: a traceback would show what could not be written."""


class _Line(logging.Formatter):
    def __init__(self, *, as_json: bool) -> None:
        super().__init__()
        self._as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        at, entry = datetime.fromtimestamp(record.created).astimezone(), record.msg
        assert isinstance(entry, LogEntry)
        if not self._as_json:
            return printable(f"{at:%Y-%m-%d %H:%M:%S} {entry.message}")
        head = {"time": at.isoformat(timespec="milliseconds"), "level": record.levelname.lower()}
        return printable(json.dumps(head | asdict(entry), ensure_ascii=False))


def tell_systemd(state: str) -> None:
    """Send a state to systemd in the words of sd_notify(3), such as `READY=1`; never raises, never waits."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    if address.startswith("@"):
        address = f"\0{address[1:]}"  # an abstract socket: a name without a file
    flags = socket.SOCK_DGRAM | getattr(socket, "SOCK_CLOEXEC", 0)
    with suppress(OSError), socket.socket(socket.AF_UNIX, flags) as sender:
        sender.setblocking(False)
        sender.connect(address)
        sender.sendall(state.encode("utf-8", "replace"))


def tell_systemd_of_reload() -> None:
    """Tell systemd that the settings are being read again; `READY=1` must follow."""
    tell_systemd(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")


def watchdog_interval() -> float | None:
    """Return how often to feed systemd's watchdog (s): half of what it allows; None where it does not watch us."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    with suppress(ValueError):
        microseconds = int(os.environ.get("WATCHDOG_USEC", ""))
        return microseconds / 2_000_000 if microseconds > 0 else None
    return None


async def feed_watchdog(hangs: Callable[[], bool]) -> None:
    """Feed systemd's watchdog as long as the event loop runs and `hangs` returns False."""
    if (seconds := watchdog_interval()) is None:
        return
    while True:
        if hangs():
            await asyncio.sleep(min(1.0, seconds))  # said at once when it gets on after all
        else:
            tell_systemd("WATCHDOG=1")
            await asyncio.sleep(seconds)
