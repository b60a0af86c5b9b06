"""Whom the daemon tells what: everything goes to the log, and what people want to know to their services."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reconciler.cli.logs import LogReporter, open_log
from reconciler.core.errors import SettingsError
from reconciler.core.progress import Topic
from reconciler.core.states import Record, Status
from reconciler.notifications.bundles import Kind
from reconciler.notifications.notifier import Notifier
from reconciler.settings import Settings
from reconciler.workspace.inputs import Root

_KINDS = {
    Status.COMPLETE: Kind.COMPLETE,
    Status.FAILED: Kind.FAILED,
    Status.REJECTED: Kind.FAILED,
    Status.EXPIRED: Kind.FAILED,
}
_TOPICS = {Topic.ACCOUNT: Kind.ACCOUNT, Topic.CAP: Kind.CAP}
_PARTING = 2.0  # seconds for the last notifications, out of the five that a stop may take


class Announcer:
    """A reporter for a daemon that nobody watches."""

    def __init__(self, log: LogReporter, settings: Settings) -> None:
        self._log = log
        urls = settings.notify_urls.get_secret_value().split() if settings.notify_urls else []
        kinds = frozenset(Kind(name) for name in settings.notify_on)
        self._notifier = Notifier(urls, kinds, trouble=log.say)

    def changed(self, record: Record) -> None:
        """Tell a record's new status or reason."""
        self._log.changed(record)
        if (kind := _KINDS.get(record.status)) is not None:
            why = f": {record.reason}" if record.reason else ""
            self._notifier.tell(kind, f"{_name(record)} is {record.status}{why}")

    def held(self, record: Record, reason: str) -> None:
        """Tell why a generation stays where it is."""
        self._log.held(record, reason)

    def say(self, message: str, topic: Topic = Topic.OTHER) -> None:
        """Tell something that concerns everybody."""
        self._log.say(message)
        if (kind := _TOPICS.get(topic)) is not None:
            self._notifier.tell(kind, message)

    def info(self, sentence: str) -> None:
        """Tell how the daemon itself does."""
        self._log.info(sentence)

    def close(self) -> None:
        """Send what is waiting."""
        self._notifier.close(_PARTING)


@contextmanager
def announcer(settings: Settings, root: Path) -> Iterator[Announcer]:
    """Open the log and the services.

    Raises:
        SettingsError: a notification URL is wrong, or the log file cannot be written.
    """
    file = None if settings.log_file is None else root / settings.log_file
    if file is not None and Root(root).leads_out(file):
        raise SettingsError(
            f"RECONCILER_LOG_FILE: a link takes `{file}` out of the project",
            hint="Remove the link, or name a file in another folder.",
        )
    with open_log(settings.log_format, file, settings.log_max_bytes) as log:
        announcing = Announcer(log, settings)
        try:
            yield announcing
        finally:
            announcing.close()


def _name(record: Record) -> str:
    label = f" [{record.label}]" if record.label else ""
    return f"{record.spec}{label} ({record.external_task_id})"
