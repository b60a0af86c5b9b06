"""Whether an order still fits: what its author saw of each thing, and what is to be seen when it is carried out.

Consent is given to one state of affairs. Who agreed to forget what had failed did not agree to forget what was bought.
"""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.core.errors import WorkspaceError
from reconciler.core.states import LIVE, Record, Status
from reconciler.engine.observe.survey import Survey
from reconciler.engine.orders.outcome import OrderContext

NOTHING = "not known"


def stage(record: Record | None) -> str:
    """Return how an attempt stands, as far as somebody who decides about it has to know."""
    if record is None:
        return NOTHING
    how = "under way" if record.status in LIVE else record.status.value
    # What is rejected keeps its id, and with it its attempt's number, however often it is sent.
    sent = f", create {record.creates}" if record.status is Status.REJECTED else ""
    return f"{how} (attempt {record.attempt}{sent})"


def bytes_at(survey: Survey, path: str) -> str:
    """Return a file's bytes in short, empty where they cannot be read."""
    try:
        return survey.locations.digest(path)[:16]
    except WorkspaceError:
        return ""


def sightings(verb: str, names: tuple[str, ...], survey: Survey) -> tuple[str, ...]:
    """Return what a survey shows of each thing that an order names; an empty text where that does not matter."""
    return tuple(_sighting(verb, name, survey.records, survey) for name in names)


def misfit(context: OrderContext, verb: str, name: str, seen: str) -> str:
    """Return why an order does not fit any more, as a sentence; empty where it does, or where its verb will say so."""
    records = {base: record for base in _bases(verb, name) if (record := context.records.get(base))}
    now = _sighting(verb, name, records, context.survey)
    if not seen or now == seen or _is_over(context, verb, name, records):
        return ""
    if verb == "prune":
        return f"`{name}` is no longer the file that this was about: it stays"
    (base,) = _bases(verb, name)
    return (
        f"{context.called(base)} was {seen} when this was ordered and is now {now}: nothing was done; "
        "look again, and repeat the command if you still want it"
    )


def _sighting(verb: str, name: str, records: Mapping[str, Record], survey: Survey) -> str:
    if verb == "prune":
        return bytes_at(survey, name)
    return next((stage(records.get(base)) for base in _bases(verb, name)), "")


def _bases(verb: str, name: str) -> tuple[str, ...]:
    """Return the generation that an order's name is about, where it is about one that we know."""
    match verb:
        case "retry":
            return (name.partition("=")[0],)
        case "forget":
            return (name.removesuffix("!"),)
        case "import":
            return tuple(filter(None, (name.partition("=")[2],)))
    return ()


def _is_over(context: OrderContext, verb: str, name: str, records: Mapping[str, Record]) -> bool:
    """Whether it was carried out already: by a process that died before it answered, or by somebody else."""
    record = next(iter(records.values()), None)
    match verb:
        case "prune":
            return name not in context.survey.orphans
        case "forget":
            return record is None
        case "retry":
            attempt = name.partition("=")[2]
            if record is None or record.status is Status.REJECTED or not attempt.isdigit():
                return False
            return record.attempt >= int(attempt)
        case _:
            task = name.partition("=")[0]
            return record is not None and task in {record.task_id, record.external_task_id}
