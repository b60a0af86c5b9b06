"""Where a running daemon takes the orders that commands hand over."""

from __future__ import annotations

from reconciler.cli.folder import Folder
from reconciler.core.errors import ReconcilerError, mistake
from reconciler.engine.journal import Journal
from reconciler.engine.orders import Order, OrderError, carry_out
from reconciler.engine.outcome import Outcome, in_a_line
from reconciler.engine.ports import Options, Ports
from reconciler.engine.whereabouts import Whereabouts
from reconciler.store.inbox import Inbox
from reconciler.workspace.index import SpecIndex


class OrderDesk:
    """Reads the inbox, has each order carried out against a fresh survey, and answers it."""

    def __init__(self, folder: Folder, ports: Ports, options: Options, index: SpecIndex) -> None:
        self._folder = folder
        self._ports = ports
        self._options = options
        self._index = index
        self._inbox = Inbox(folder.root / folder.settings.state_dir)
        self._taken: list[tuple[str, dict[str, object]]] = []

    def is_ordered(self) -> bool:
        """Whether somebody asks for something."""
        self._taken = self._inbox.pending()
        return bool(self._taken)

    async def carry_out(self, journal: Journal, whereabouts: Whereabouts) -> frozenset[str]:
        """Do what was asked for; return the base ids of the generations that it concerned."""
        touched: set[str] = set()
        for ticket, document in self._taken:
            try:
                order = Order.read(document)
            except OrderError as error:
                self._inbox.answer(ticket, Outcome.refused(in_a_line(error)).document())
                continue
            outcome = await self._one(order, journal)
            self._inbox.answer(ticket, outcome.document())
            whereabouts.relearn(self._ports.repository)
            touched |= outcome.touched
        return frozenset(touched)

    async def _one(self, order: Order, journal: Journal) -> Outcome:
        """Carry out one order. One that cannot be, for whatever reason, is answered: else it would come again."""
        try:
            survey = self._folder.surveyor.survey(self._index.desired(), journal.records())
            journal.take_over(survey.records.values())
            return await carry_out(order, self._ports, self._options, journal, survey)
        except ReconcilerError as error:
            return Outcome.refused(in_a_line(error))
        except Exception as error:  # noqa: BLE001 - an order must not end the daemon, again and again
            return Outcome.refused(mistake(error))
