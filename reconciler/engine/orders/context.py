"""What an order is checked against: the records, a survey made after it was given, and what the user saw then.

Consent is given to one state of affairs: who agreed to forget what had failed did not agree to forget what was bought.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from reconciler.core.errors import WorkspaceError
from reconciler.core.generations import Generation
from reconciler.core.orders import parts
from reconciler.core.printable import labelled
from reconciler.core.states import LIVE, Record, Status
from reconciler.engine.observe.survey import Survey
from reconciler.engine.ports import Options, Ports
from reconciler.engine.records import Records


@dataclass(frozen=True, slots=True)
class OrderContext:
    """What an order is checked against: the records, and a survey made after it was given."""

    ports: Ports
    options: Options
    records: Records
    survey: Survey

    def wish(self, base_id: str) -> Generation | None:
        """Return what a valid spec says of this generation; None where none wants it."""
        wishes = (w for w in self.survey.valid_wishes() if w.external_task_id == base_id)
        return next(wishes, None)

    def called(self, base_id: str) -> str:
        """Return how people call a generation: its spec, its label and its id."""
        place = self.wish(base_id) or self.records.get(base_id)
        if place is None or not place.spec:
            return base_id
        return f"{labelled(place.spec, place.label)} ({base_id})"


def sightings(verb: str, names: tuple[str, ...], survey: Survey) -> tuple[str, ...]:
    """Return what a survey shows of each thing that an order names; an empty text where that does not matter."""
    return tuple(_sighting(verb, name, survey.records.get, survey) for name in names)


def misfit(context: OrderContext, verb: str, name: str, seen: str) -> str:
    """Return why an order does not fit any more, as a sentence; empty where it does, or where its verb will say so."""
    base_id, rest = parts(verb, name)
    now = _sighting(verb, name, context.records.get, context.survey)
    if now == seen or _is_over(context, verb, rest, context.records.get(base_id)):
        return ""
    if verb == "prune":
        return f"`{name}` is no longer the file that this was about: it stays"
    return (
        f"{context.called(base_id)} was {seen} when this was ordered and is now {now}: nothing was done; "
        "look again, and repeat the command if you still want it"
    )


def _sighting(verb: str, name: str, known: Callable[[str], Record | None], survey: Survey) -> str:
    """Return a file's bytes in short, empty where they cannot be read, or how far a generation is."""
    if verb == "prune":
        try:
            return survey.locations.digest(name)[:16]
        except WorkspaceError:
            return ""
    base_id, _ = parts(verb, name)
    return _stage(known(base_id)) if base_id else ""


def _stage(record: Record | None) -> str:
    """Return how an attempt stands, as far as it matters to the user's consent."""
    if record is None:
        return "not known"
    how = "under way" if record.status in LIVE else record.status.value
    # A rejected attempt keeps its number, however often it is sent.
    sent = f", create {record.creates}" if record.status is Status.REJECTED else ""
    return f"{how} (attempt {record.attempt}{sent})"


def _is_over(context: OrderContext, verb: str, rest: str, record: Record | None) -> bool:
    """Whether the order was carried out already: another process may have died before it answered."""
    match verb:
        case "prune":
            return rest not in context.survey.orphans
        case "forget":
            return record is None
        case _ if record is None:
            return False
        case "retry":
            is_numbered = record.status is not Status.REJECTED and rest.isdigit()
            return is_numbered and record.attempt >= int(rest)
        case _:
            return rest in {record.task_id, record.external_task_id}
