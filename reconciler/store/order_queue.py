"""The orders that commands leave in the database for the daemon that writes it, and its answers. Knows no verb.

Such a row is all that a process without the state's lock may write. Each step is one statement: of a command that
withdraws an order (the giver) and a daemon that takes it exactly one wins. Right before a daemon begins with an order
it asks whether the giver still waits; only a giver that polls replies, and a dead one does not (ADR 42).
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from sqlalchemy import Delete, Update, delete, insert, select, update

from reconciler.core.errors import StateError
from reconciler.store.database import is_ready
from reconciler.store.tables import GIVEN_ORDER
from reconciler.store.writing import WritableDatabase, open_beside_the_writer

_LONGEST_ORDER = 1024 * 1024  # bytes
_AT_ONCE = 100  # orders; the others come when these are answered
_KEPT = 1000  # the newest orders, whose answers stay even if no giver fetched them

_ROW = GIVEN_ORDER.c
_UNANSWERED = (
    "SELECT ticket, document, asked FROM given_order WHERE answer IS NULL "
    "ORDER BY id LIMIT :at_once"
)
_STATE = "SELECT asked, heard, answer FROM given_order WHERE ticket = :ticket"


class OrderQueue:
    """The orders of one database, for givers and for the daemon. Every verb raises StateError when it cannot be used."""

    def __init__(self, database: WritableDatabase) -> None:
        self._database = database

    # The giver's side.

    def put(self, document: Mapping[str, object], ticket: str) -> None:
        """Leave an order under a `new_ticket`; raises StateError beyond 1 MiB."""
        text = json.dumps(document, allow_nan=False)
        if len(text) > _LONGEST_ORDER:
            hint = "Name fewer things at a time."
            raise StateError(f"An order of {len(text)} bytes is too long for the inbox.", hint=hint)
        with self._database.write() as connection:
            row = {"ticket": ticket, "document": text, "asked": 0, "heard": 0}
            connection.execute(insert(GIVEN_ORDER).values(row))

    def withdraw(self, ticket: str) -> bool:
        """Take an order back; False when the daemon took it: it is, was or may be carried out."""
        return self._changed(ticket, delete(GIVEN_ORDER).where(_ROW.asked == 0))

    def leave(self, ticket: str) -> bool:
        """Take an order back if the daemon has not taken it; whether the order is gone."""
        return self.withdraw(ticket) or self._state(ticket) is None

    def poll(self, ticket: str) -> dict[str, object] | None:
        """Return the answer to an order and remove both, None when there is none yet; tells that the giver waits."""
        self._database.fence.require()
        if (found := self._state(ticket)) is None:
            return None
        asked, heard, answer = found
        if answer is None:
            if heard != asked:
                self._changed(ticket, update(GIVEN_ORDER).values(heard=_ROW.asked))
            return None
        with suppress(StateError):  # the answer is read; `answer` removes old rows
            self._changed(ticket, delete(GIVEN_ORDER))
        return _document(answer)

    # The daemon's side.

    def pending(self) -> list[tuple[str, dict[str, object]]]:
        """Take the waiting orders; return all that are taken and not answered, the oldest first, at most 100."""
        found = self._unanswered()
        if new := [ticket for ticket, _, asked in found if asked == 0]:
            with self._database.write() as connection:
                waiting = _ROW.ticket.in_(new), _ROW.asked == 0
                connection.execute(update(GIVEN_ORDER).where(*waiting).values(asked=1))
            found = self._unanswered()
        return [(ticket, _document(document)) for ticket, document, asked in found if asked]

    def ask(self, ticket: str) -> bool:
        """Ask whether the giver of an order still waits; False where the order is gone."""
        return self._changed(ticket, update(GIVEN_ORDER).values(asked=_ROW.asked + 1))

    def has_replied(self, ticket: str) -> bool:
        """Whether the giver has polled since `ask`."""
        found = self._state(ticket)
        return found is not None and found[0] == found[1]

    def answer(self, ticket: str, document: Mapping[str, object]) -> None:
        """Answer an order that was taken; `pending` never returns it again."""
        is_it = _ROW.ticket == ticket
        said = update(GIVEN_ORDER).where(is_it).values(answer=json.dumps(document, allow_nan=False))
        is_old = _ROW.id <= select(_ROW.id).where(is_it).scalar_subquery() - _KEPT
        with self._database.write() as connection:
            connection.execute(said)
            connection.execute(delete(GIVEN_ORDER).where(_ROW.answer.is_not(None), is_old))

    def _unanswered(self) -> list[tuple[str, str, int]]:
        """Return ticket, document and `asked` of the oldest orders without an answer."""
        with self._database.driver() as connection:
            return connection.execute(_UNANSWERED, {"at_once": _AT_ONCE}).fetchall()

    def _state(self, ticket: str) -> tuple[int, int, str | None] | None:
        """Return `asked`, `heard` and the answer of an order, None where it is gone."""
        with self._database.driver() as connection:
            found: tuple[int, int, str | None] | None = connection.execute(
                _STATE, {"ticket": ticket}
            ).fetchone()
        return found

    def _changed(self, ticket: str, statement: Update | Delete) -> bool:
        with self._database.write() as connection:
            return connection.execute(statement.where(_ROW.ticket == ticket)).rowcount > 0


def new_ticket() -> str:
    """Return an id for a new order; made before `put`, so that an interrupted giver can withdraw the order."""
    return secrets.token_hex(16)


@contextmanager
def open_queue(path: Path) -> Iterator[OrderQueue | None]:
    """Open the orders of a database that another process writes; None where that has no tables or no log yet.

    Without a log every row would change the file, which its writer takes for a copy that was put there.
    Raises StateError: it cannot be used, or another version of the program made it; StateReplaced, by any verb: it is
    not on the disk by its name any more.
    """
    if (database := open_beside_the_writer(path)) is None:
        yield None
        return
    with closing(database):
        with database.read() as connection:
            has_log = connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        is_usable = has_log and is_ready(database)
        database.raise_fence()
        yield OrderQueue(database) if is_usable else None


def _document(text: object) -> dict[str, object]:
    """Return the JSON object of a text, an empty one for anything else, which is no order."""
    try:
        found = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {}
