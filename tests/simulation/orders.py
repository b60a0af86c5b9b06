"""Somebody who gives orders with what the commands show, by the way that the commands take.

With the lock in hand a process carries the order out; where another one writes, it is left in the inbox, and taken
back when nobody takes it. Whoever is gone before that leaves it behind.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from reconciler.core.orders import Order, Outcome, Verb
from reconciler.core.progress import GIVEN_UP
from reconciler.core.states import Record, Status
from reconciler.store.order_queue import new_ticket, open_queue
from tests.simulation.books import survey_of
from tests.simulation.history import Act
from tests.simulation.machine import Machine

TAKEN_S, DONE_S, LATE_S = 10, 60, 5
"""How long a command waits for its order to be taken, then for its answer, and how late its order may be."""

Alone = Callable[[Machine, Order], Awaitable[Outcome | None]]
"""Carries an order out in a process of its own; None where that one died."""


@dataclass
class Orders:
    """Gives orders on any machine, and remembers what was asked for."""

    alone: Alone
    say: Callable[[str], None]
    billed: Callable[[], Sequence[str]] = tuple
    """Ids of all that the provider billed."""
    retried: Counter[str] = field(default_factory=Counter)
    """Base id -> attempts that somebody asked for who waited for the answer, or has it all the same."""
    left: dict[str, tuple[Machine, Order]] = field(default_factory=dict)
    """Ticket -> an order whose author is gone."""

    async def give(self, machine: Machine, act: Act) -> bool:
        """Give an order about what there is to give one about; return whether it was, or may be, carried out."""
        if (order := self._order(machine, act.what, act.which)) is None:
            return False
        if machine.running:
            done = await self._hand_over(machine, order)
        else:
            outcome = await self.alone(machine, order)
            done = outcome is None or bool(outcome.touched)
            self.say(f"{_told(order)}: {outcome and '; '.join(outcome.said)}")
        if done:
            self._count(order)
        return done

    def _count(self, order: Order) -> None:
        """Count what an order asks for that is, or may be, carried out."""
        if order.verb is Verb.RETRY:
            self.retried.update(name.partition("=")[0] for name in order.names)

    def leave(self, machine: Machine, act: Act) -> None:
        """Leave an order in the inbox, and be gone."""
        order = self._order(machine, str(act.value), act.which)
        with open_queue(machine.database) as queue:
            if order and queue:
                ticket = new_ticket()
                queue.put(_timed(order, machine).document(), ticket)
                self.left[ticket] = machine, order
                self.say(f"{_told(order)} is left in the inbox, and its author is gone")

    def carried_out(self) -> list[str]:
        """Return the orders that were carried out though their authors were gone, in words."""
        found = []
        for ticket, (machine, order) in self.left.items():
            answer = self._poll(machine, ticket)
            if answer is not None and Outcome.read(answer).touched:
                found.append(f"{_told(order)}: {'; '.join(Outcome.read(answer).said)}")
        return found

    async def retry_all(self, machine: Machine) -> None:
        """Have everything tried again that ended badly."""
        for base, record in self._known(machine).items():
            if record.status in GIVEN_UP:
                order = Order(Verb.RETRY, (f"{base}={record.attempt + 1}",))
                outcome = await self.alone(machine, order)
                self.retried[base] += bool(outcome and outcome.touched)
                self.say(f"{_told(order)}: {outcome and '; '.join(outcome.said)}")

    async def _hand_over(self, machine: Machine, order: Order) -> bool:
        """Leave an order to the process that writes; return whether it is, or may be, carried out."""
        with open_queue(machine.database) as queue:
            if queue is None:
                return False
            ticket = new_ticket()
            queue.put(_timed(order, machine).document(), ticket)
        for second in range(TAKEN_S + DONE_S):
            try:
                await asyncio.sleep(1.0)
            except asyncio.CancelledError:  # as on Ctrl-C
                if not self._withdraw(machine, ticket):
                    self._count(order)  # it was taken while its author waited
                raise
            if answer := self._poll(machine, ticket):
                self.say(f"{_told(order)}: {'; '.join(Outcome.read(answer).said)}")
                return bool(Outcome.read(answer).touched)
            if second == TAKEN_S and self._withdraw(machine, ticket):
                self.say(f"{_told(order)} was taken back: nobody took it")
                return False
        return True

    @staticmethod
    def _poll(machine: Machine, ticket: str) -> dict[str, object] | None:
        with open_queue(machine.database) as queue:
            return None if queue is None else queue.poll(ticket)

    @staticmethod
    def _withdraw(machine: Machine, ticket: str) -> bool:
        with open_queue(machine.database) as queue:
            return queue is not None and queue.withdraw(ticket)

    def _order(self, machine: Machine, verb: str, which: int) -> Order | None:
        """Return an order about one generation, as the command shows it; a forgotten one's videos are moved away."""
        if verb == "refresh":
            return Order(Verb.REFRESH, ())
        if verb == "import":
            ids = self.billed()
            return Order(Verb.IMPORT, (ids[which % len(ids)],)) if ids else None
        if verb == "prune":
            survey = survey_of(machine.root)
            orphans = survey.orphans if survey else ()
            return Order(Verb.PRUNE, (orphans[which % len(orphans)],)) if orphans else None
        known = self._known(machine)
        fits = GIVEN_UP if verb == "retry" else GIVEN_UP | {Status.COMPLETE}
        bases = sorted(base for base, record in known.items() if record.status in fits)
        if not bases:
            return None
        base = bases[which % len(bases)]
        if verb == "retry":
            return Order(Verb.RETRY, (f"{base}={known[base].attempt + 1}",))
        machine.author.hide(known[base].spec)
        return Order(Verb.FORGET, (base,))

    def _known(self, machine: Machine) -> Mapping[str, Record]:
        """Return what is known of what is wanted, by the state and the receipts."""
        survey = survey_of(machine.root)
        if survey is None:
            return {}
        wanted = {wish.external_task_id for wish in survey.valid_wishes()}
        return {base: one for base, one in survey.records.items() if base in wanted}


def _timed(order: Order, machine: Machine) -> Order:
    """Return an order that is meant for as long as its author waits."""
    given = machine.wall_ns() // 1_000_000
    return replace(order, given=given, until=given + (TAKEN_S + DONE_S + LATE_S) * 1000)


def _told(order: Order) -> str:
    return f"`{order.verb} {' '.join(order.names)}`"
