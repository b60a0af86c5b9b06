"""Where a running daemon takes the orders that commands hand over."""

from __future__ import annotations

import time
from collections.abc import Mapping

from reconciler.cli.project import Folder
from reconciler.core.errors import ReconcilerError, StateError, in_a_line, mistake, told
from reconciler.core.schedule import SECOND
from reconciler.engine.journal import Journal
from reconciler.engine.orders import Order, carry_out
from reconciler.engine.outcome import Outcome
from reconciler.engine.ports import Options, Ports
from reconciler.engine.whereabouts import Whereabouts
from reconciler.store.inbox import Inbox
from reconciler.workspace.index import SpecIndex


class OrderDesk:
    """Reads the inbox, has each order carried out against a fresh survey, and answers it.

    An order that nobody awaits any more, or whose time is over, is dropped, and that is said.
    """

    def __init__(self, folder: Folder, ports: Ports, options: Options, index: SpecIndex) -> None:
        self._folder = folder
        self._ports = ports
        self._options = options
        self._index = index
        self._inbox = Inbox(folder.root / folder.settings.state_dir)
        self._taken: list[tuple[str, dict[str, object]]] = []
        self._unanswered: dict[
            str, Outcome
        ] = {}  # what became of orders whose answer is not written
        self._is_stale = False  # whose files are where changed, and could not be read again

    def is_ordered(self) -> bool:
        """Whether somebody asks for something. What was done, and could not be answered, is not done again."""
        pending = dict(self._inbox.pending())
        self._unanswered = {t: was for t, was in self._unanswered.items() if t in pending}
        self._taken = [item for item in pending.items() if item[0] not in self._unanswered]
        for ticket, outcome in [*self._unanswered.items()]:
            self._answer(ticket, outcome)
        return bool(self._taken) or self._is_stale

    async def carry_out(self, journal: Journal, whereabouts: Whereabouts) -> frozenset[str]:
        """Do what was asked for; return the base ids of the generations that it concerned.

        What was done counts, though its answer cannot be written, or something else goes wrong afterwards.
        """
        touched: set[str] = set()
        for ticket, document in self._taken:
            outcome = await self._one(ticket, document, journal)
            touched |= outcome.touched
            self._answer(ticket, outcome)
            self._relearn(whereabouts)
        if not self._taken:
            self._relearn(whereabouts)
        return frozenset(touched)

    async def _one(self, ticket: str, document: Mapping[str, object], journal: Journal) -> Outcome:
        """Carry out one order. One that cannot be, for whatever reason, is answered: else it would come again."""
        try:
            order = Order.read(document)
            if why := self._forsaken(ticket) or order.untimely(int(time.time() * SECOND)):
                self._ports.report.say(f"the order {order} is dropped: {why}")
                return Outcome.refused(
                    f"nothing was done: {why}; look again, and repeat the command"
                )
            survey = self._folder.surveyor.survey(self._index.desired(), journal.records())
            journal.take_over(survey.records.values())
            return await carry_out(order, self._ports, self._options, journal, survey)
        except ReconcilerError as error:
            return Outcome.refused(in_a_line(error))
        except Exception as error:  # noqa: BLE001 - an order must not end the daemon, again and again
            return Outcome.refused(mistake(error))

    def _forsaken(self, ticket: str) -> str:
        """Return why nobody can mean an order any more; empty while its command waits for the answer."""
        if self._inbox.is_awaited(ticket):
            return ""
        return "the command that gave it has ended, and nobody waits for it"

    def _answer(self, ticket: str, outcome: Outcome) -> None:
        """Answer an order; what cannot be written is tried again in the next look."""
        was = self._unanswered.pop(ticket, None)
        try:
            self._inbox.answer(ticket, outcome.document())
        except StateError as error:
            self._unanswered[ticket] = outcome
            if was is None:
                self._ports.report.say(
                    f"an order was carried out, but its answer could not be written yet: {told(error)}"
                )

    def _relearn(self, whereabouts: Whereabouts) -> None:
        try:
            whereabouts.relearn(self._ports.repository)
        except StateError as error:
            if not self._is_stale:
                self._ports.report.say(told(error))
            self._is_stale = True
        else:
            self._is_stale = False
