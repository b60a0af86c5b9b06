"""Where a command leaves an order for the process that holds the lock, and finds the answer. It knows no verbs.

An order is a file whose name says how far it is: `.order` waits, `.taken` is in hand, `.answer` is what became
of it. Every step is one rename or one unlink, so of an asker who withdraws and a daemon that takes exactly one
wins. While an asker waits it keeps its order locked: the kernel tells a daemon, now or next week, whether anybody
still does. Whoever can write here can give orders: the folder is its user's alone, and is not used otherwise.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from reconciler.core.errors import StateError
from reconciler.disk import sync
from reconciler.store import inbox_files
from reconciler.store.durable import make_folder
from reconciler.store.inbox_files import ANSWER, LONGEST_ORDER, ORDER, TAKEN, TICKET

_LONGEST_ANSWER = 64 * 1024 * 1024  # bytes; our own, but never read without end
_OTHERS_MAY_WRITE = 0o022
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Inbox:
    """The orders of one state folder, for both sides; the folder is made by the first order.

    Every verb but `pending` raises StateError when the folder cannot be used.
    """

    def __init__(self, state: Path) -> None:
        self._folder = state / "inbox"
        self._last = 0  # ns
        self._waiting: dict[str, int] = {}  # ticket -> the descriptor that keeps the order locked

    def new_ticket(self) -> str:
        """Return a ticket for `put`. Tickets sort by age; those of one process strictly, those of several by the clock."""
        self._last = max(time.time_ns(), self._last + 1)
        return f"{self._last:020}-{secrets.token_hex(4)}"

    def put(self, document: Mapping[str, object], ticket: str | None = None) -> str:
        """Leave an order and return its ticket; raises StateError beyond 1 MiB.

        It counts as awaited until it was answered, withdrawn or left, or until this process ends. Whoever may be
        interrupted here takes a `new_ticket` first: else an order that just appeared could not be taken back.
        """
        content = json.dumps(document, allow_nan=False).encode("ascii")
        if len(content) > LONGEST_ORDER:
            raise StateError(
                f"An order of {len(content)} bytes is too long for the inbox.",
                hint="Name fewer things at a time.",
            )
        ticket = ticket or self.new_ticket()
        with self._made() as folder:
            self._waiting[ticket] = inbox_files.write_locked(folder, f"{ticket}{ORDER}", content)
        return ticket

    def withdraw(self, ticket: str) -> bool:
        """Take an order back; False when it was taken: then it is, was or will be carried out."""
        name = f"{_checked(ticket)}{ORDER}"
        with self._opened() as folder:
            if folder is None:
                return False
            try:
                os.unlink(name, dir_fd=folder)
            except FileNotFoundError:
                return False
            sync(folder)
        self._stop_waiting(ticket)
        return True

    def leave(self, ticket: str) -> bool:
        """Wait no longer: the order is not there now, and this returns True, or it was taken, and nobody awaits it.

        Of one that was taken nobody knows whether it was begun; where it was not, it is not carried out.
        """
        try:
            return self.withdraw(ticket) or not self._was_taken(ticket)
        finally:
            self._stop_waiting(ticket)

    def is_awaited(self, ticket: str) -> bool:
        """Whether whoever gave an order that was taken still waits for the answer."""
        with self._opened() as folder:
            return folder is not None and inbox_files.is_locked(
                folder, f"{_checked(ticket)}{TAKEN}"
            )

    def answered(self, ticket: str) -> dict[str, object] | None:
        """Return the answer to an order and remove it; None when there is none (yet)."""
        name = f"{_checked(ticket)}{ANSWER}"
        with self._opened() as folder:
            # Until the order is gone its answer stays: it is what keeps the order from being taken again.
            if folder is None or inbox_files.exists(folder, f"{ticket}{TAKEN}"):
                return None
            try:
                document = inbox_files.read(folder, name, _LONGEST_ANSWER)
            except FileNotFoundError:
                return None
            os.unlink(name, dir_fd=folder)
        self._stop_waiting(ticket)
        return document

    def pending(self) -> list[tuple[str, dict[str, object]]]:
        """Take what waits, and return it with what was taken before and not answered; the oldest first.

        At most 100 come at a time. What is no order is set aside under another name, and an inbox that cannot
        be used is an empty one: this never raises.
        """
        with suppress(OSError, StateError), self._opened() as folder:
            if folder is not None:
                return inbox_files.take_all(folder)
        return []

    def answer(self, ticket: str, document: Mapping[str, object]) -> None:
        """Say what became of an order that was taken; after this it is never handed out again."""
        content = json.dumps(document, allow_nan=False).encode("ascii")
        name = f"{_checked(ticket)}{ANSWER}"
        with self._made() as folder:
            inbox_files.write(folder, name, content)
            with suppress(FileNotFoundError):
                os.unlink(f"{ticket}{TAKEN}", dir_fd=folder)
            sync(folder)

    def _was_taken(self, ticket: str) -> bool:
        with self._opened() as folder:
            return folder is not None and any(
                inbox_files.exists(folder, f"{ticket}{state}") for state in (TAKEN, ANSWER)
            )

    def _stop_waiting(self, ticket: str) -> None:
        descriptor = self._waiting.pop(ticket, None)
        if descriptor is not None:
            os.close(descriptor)

    @contextmanager
    def _made(self) -> Iterator[int]:
        with self._translated():
            make_folder(self._folder)
        with self._opened() as folder:
            if folder is None:
                raise StateError(
                    f"`{self._folder}` went away while it was used.", hint="Run again."
                )
            yield folder

    @contextmanager
    def _opened(self) -> Iterator[int | None]:
        """Give the folder's descriptor, through which nothing outside is reached; None when there is none."""
        with self._translated():
            try:
                descriptor = os.open(self._folder, _FOLDER)
            except FileNotFoundError:
                descriptor = None
            try:
                if descriptor is not None:
                    self._require_private(descriptor)
                yield descriptor
            finally:
                if descriptor is not None:
                    os.close(descriptor)

    def _require_private(self, descriptor: int) -> None:
        found = os.fstat(descriptor)
        if found.st_uid != os.geteuid() or found.st_mode & _OTHERS_MAY_WRITE:
            raise StateError(
                f"Users other than this one may write to `{self._folder}`, so no order in it counts.",
                hint="Run every command as the user that runs `watch`; then remove that folder, and run again.",
            )

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StateError(
                f"The inbox `{self._folder}` cannot be used: {error.strerror}.",
                hint="Free some space, or make the state folder writable for the user that runs `watch`.",
            ) from error


def _checked(ticket: str) -> str:
    if not TICKET.fullmatch(ticket):
        raise StateError(f"{ticket!r} is not a ticket of the inbox.")
    return ticket
