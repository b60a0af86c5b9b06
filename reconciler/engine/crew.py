"""Those who do the work of a run, put together in one place."""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.engine.buying import Buyer
from reconciler.engine.desk import AtRest, Declared, Desk, StillWanted
from reconciler.engine.effects import Purchases
from reconciler.engine.landing import Lander
from reconciler.engine.polling import Poller
from reconciler.engine.previewing import Previewer
from reconciler.engine.publishing import Publisher
from reconciler.engine.receipts import Receipts
from reconciler.engine.saving import Saver
from reconciler.engine.whereabouts import Whereabouts


@dataclass(frozen=True, slots=True)
class Crew:
    """One of each, at one desk."""

    buyer: Buyer
    poller: Poller
    lander: Lander
    publisher: Publisher
    receipts: Receipts


def hire(
    desk: Desk,
    whereabouts: Whereabouts,
    declared: Declared,
    is_at_rest: AtRest,
    is_wanted: StillWanted,
) -> Crew:
    """Return a crew; `declared` gives what a spec, where it is valid, asks for now."""
    ports, options, journal = desk.ports, desk.options, desk.journal
    publisher = Publisher(ports, whereabouts, options.previews)
    previewer = Previewer(ports, options.previews, whereabouts)
    saver = Saver(ports, options, journal, previewer)
    receipts = Receipts(ports.root, journal, declared)
    return Crew(
        buyer=Buyer(desk, Purchases(ports, options, journal, desk.gate.take_slot), is_wanted),
        poller=Poller(ports, options, journal),
        lander=Lander(desk, saver, publisher, receipts, declared, is_at_rest),
        publisher=publisher,
        receipts=receipts,
    )
