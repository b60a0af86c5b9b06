"""Orders: what the user asks for by a command. The process that may write the state carries them out.

Where a daemon holds the lock, an order travels to it as a document, in the database's queue. It says what the user saw
and until when it is meant, and all is checked again here: what does not hold any more is said and skipped. The caller
sees to it that no turn of the same generation is under way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from reconciler.core.errors import ReconcilerError, StateError, in_a_line, mistake, told
from reconciler.core.orders import Order, Outcome, Verb, parts
from reconciler.engine.observe.locations import Locations
from reconciler.engine.observe.survey import Survey, Surveyor
from reconciler.engine.orders.attempts import adopt, refresh, retry
from reconciler.engine.orders.collect import collect
from reconciler.engine.orders.context import OrderContext, misfit
from reconciler.engine.orders.forget import forget, prune
from reconciler.engine.ports import Options, Ports
from reconciler.engine.records import Records
from reconciler.kling.errors import AccountTrouble, TryLater
from reconciler.workspace.index.spec_index import SpecIndex

_PATIENCE = 5.0  # s for a command to reply that it still waits; it polls far more often
_LOOK_AGAIN = 0.02  # s
_FORSAKEN = "the command that gave it has ended, and nobody waits for it"


async def carry_out(
    order: Order, ports: Ports, options: Options, records: Records, survey: Survey
) -> Outcome:
    """Do what was ordered, as far as it still holds, and say what came of it.

    A name that cannot be served stops no other; a provider that cannot be asked does. `survey` is made now. Creates no task.
    """
    records.take_over(survey.told())
    context = OrderContext(ports, options, records, survey)
    seen = dict(zip(order.names, order.seen, strict=False))  # of each name, or empty
    if order.verb is Verb.REFRESH:
        return await refresh(context, order.names)
    if order.verb is Verb.GC:
        return await collect(context, order.names, seen)
    outcomes = []
    for number, name in enumerate(order.names, 1):
        try:
            outcomes.append(await _carry_out_one(context, order.verb, name, seen.get(name, "")))
        except ReconcilerError as error:
            outcomes.append(Outcome.refused(f"{name}: {in_a_line(error)}"))
            if isinstance(error, AccountTrouble | TryLater):
                if left := len(order.names) - number:
                    was = "was" if left == 1 else "were"
                    outcomes.append(Outcome.refused(f"{left:,} more {was} not tried after that"))
                break
    return Outcome.of(outcomes)


async def _carry_out_one(context: OrderContext, verb: Verb, name: str, seen: str) -> Outcome:
    if seen and (sentence := misfit(context, verb, name, seen)):
        return Outcome.refused(sentence)
    base_id, rest = parts(verb, name)
    match verb:
        case Verb.RETRY:
            return await retry(context, base_id, int(rest) if rest else None)
        case Verb.IMPORT:
            return await adopt(context, rest, base_id)
        case Verb.FORGET:
            return forget(context, base_id, in_flight=bool(rest))
        case _:
            return prune(context, rest)


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
        self._acknowledged: set[str] = set()  # tickets
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

    def acknowledge(self) -> None:
        """Tell the commands that wait that their orders were taken; carrying them out takes a while."""
        for ticket, _ in self._taken:
            if ticket not in self._acknowledged:
                self._queue.ask(ticket)
                self._acknowledged.add(ticket)

    async def carry_out(self, records: Records, locations: Locations) -> frozenset[str]:
        """Carry out the orders; return the base ids that they concerned, also where an answer cannot be written."""
        touched: set[str] = set()
        for ticket, document in self._taken:
            outcome = await self._one(ticket, document, records)
            touched |= outcome.touched
            self._answer(ticket, outcome)
        try:
            locations.relearn()
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
            survey = self._surveyor.survey(self._index.desired())
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
