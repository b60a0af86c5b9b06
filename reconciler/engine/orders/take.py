"""The orders of a running daemon: taken from the queue in the database, carried out against a fresh survey, and answered."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from reconciler.core.errors import ReconcilerError, StateError, in_a_line, mistake, told
from reconciler.engine.observe.files import Locations
from reconciler.engine.observe.survey import Surveyor
from reconciler.engine.orders.order import Order, carry_out
from reconciler.engine.orders.outcome import Outcome
from reconciler.engine.ports import Options, Ports
from reconciler.engine.records import Records
from reconciler.workspace.index.index import SpecIndex

_PATIENCE = 5.0  # s for a command to reply that it still waits; it polls far more often
_LOOK_AGAIN = 0.02  # s
_FORSAKEN = "the command that gave it has ended, and nobody waits for it"


class OrderTaker:
    """Takes orders, and remembers the answers that could not be written yet."""

    def __init__(
        self, ports: Ports, options: Options, index: SpecIndex, surveyor: Surveyor
    ) -> None:
        self._ports = ports
        self._options = options
        self._index = index
        self._surveyor = surveyor
        self._queue = ports.repository.orders
        self._taken: list[tuple[str, dict[str, object]]] = []
        self._unanswered: dict[str, Outcome] = {}  # by ticket
        self._is_stale = False  # publications changed, and could not be read again

    def is_ordered(self) -> bool:
        """Whether there are orders to carry out; one that was, and could not be answered, is only answered."""
        self._taken = []
        try:
            pending = dict(self._queue.pending())
        except StateError:  # the daemon's own look says what is wrong with the state
            return False
        self._unanswered = {t: was for t, was in self._unanswered.items() if t in pending}
        self._taken = [item for item in pending.items() if item[0] not in self._unanswered]
        for ticket, outcome in [*self._unanswered.items()]:
            self._answer(ticket, outcome)
        return bool(self._taken) or self._is_stale

    async def carry_out(self, records: Records, locations: Locations) -> frozenset[str]:
        """Carry out the orders; return the base ids that they concerned, also where an answer cannot be written."""
        touched: set[str] = set()
        for ticket, document in self._taken:
            outcome = await self._one(ticket, document, records)
            touched |= outcome.touched
            self._answer(ticket, outcome)
        try:
            locations.relearn(self._ports.repository)
        except StateError as error:
            if not self._is_stale:
                self._ports.report.say(told(error))
            self._is_stale = True
        else:
            self._is_stale = False
        return frozenset(touched)

    async def _one(self, ticket: str, document: Mapping[str, object], records: Records) -> Outcome:
        """Carry out one order; an error is an answer too, else the order would come again."""
        try:
            order = Order.read(document)
            why = order.untimely(self._ports.calendar())
            if not why and not await self._is_awaited(ticket):
                why = _FORSAKEN
            if why:
                self._ports.report.say(f"the order {order} is dropped: {why}")
                return Outcome.refused(
                    f"nothing was done: {why}; look again, and repeat the command"
                )
            survey = self._surveyor.survey(self._index.desired(), records.latest())
            return await carry_out(order, self._ports, self._options, records, survey)
        except ReconcilerError as error:
            return Outcome.refused(in_a_line(error))
        except Exception as error:  # noqa: BLE001 - an order must not end the daemon, again and again
            return Outcome.refused(mistake(error))

    async def _is_awaited(self, ticket: str) -> bool:
        """Ask the command whether it still waits: one that was killed does not reply."""
        if not self._queue.ask(ticket):
            return False
        for _ in range(int(_PATIENCE / _LOOK_AGAIN)):
            if self._queue.has_replied(ticket):
                return True
            await asyncio.sleep(_LOOK_AGAIN)
        return False

    def _answer(self, ticket: str, outcome: Outcome) -> None:
        """Answer an order; an answer that cannot be written is tried again in the next look."""
        was = self._unanswered.pop(ticket, None)
        try:
            self._queue.answer(ticket, outcome.document())
        except StateError as error:
            self._unanswered[ticket] = outcome
            if was is None:
                self._ports.report.say(
                    f"an order was carried out, but its answer could not be written yet: {told(error)}"
                )
