"""Orders: what the user asks for by a command. The process that may write the state carries them out.

Where a daemon holds the lock, an order travels to it as a document. It says what the user saw and until when it is
meant, and all is checked again here: what does not hold any more is said and skipped. The caller sees to it that no
turn of the same generation is under way.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Self, TypeGuard

from reconciler.core.errors import ReconcilerError, WorkspaceError, in_a_line
from reconciler.core.schedule import SECOND
from reconciler.core.states import LIVE, Record, Status
from reconciler.engine.observe.survey import Survey
from reconciler.engine.orders.attempts import adopt, refresh, retry
from reconciler.engine.orders.collect import collect
from reconciler.engine.orders.forget import forget, prune
from reconciler.engine.orders.outcome import OrderContext, Outcome
from reconciler.engine.ports import Options, Ports
from reconciler.engine.records import Records
from reconciler.kling.errors import AccountTrouble, TryLater

MOST_NAMES = 50_000  # in one order
_CLOCKS_DIFFER = 5 * SECOND  # of two processes, or machines, that share a folder
_ID = r"[A-Za-z0-9._-]{1,128}"
_PATH = r"[^/\x00-\x1f\x7f][^\x00-\x1f\x7f]{0,4095}"


class OrderError(ReconcilerError):
    """The document or the words make no order."""


class Verb(StrEnum):
    """What can be ordered; the words are those of the commands."""

    RETRY = "retry"
    IMPORT = "import"
    REFRESH = "refresh"
    FORGET = "forget"
    PRUNE = "prune"
    GC = "gc"


_NAMES = {
    Verb.RETRY: re.compile(f"{_ID}(=[0-9]{{1,6}})?"),
    Verb.IMPORT: re.compile(f"{_ID}(={_ID})?"),
    Verb.REFRESH: re.compile(_ID),
    Verb.FORGET: re.compile(f"{_ID}!?"),
    Verb.GC: re.compile(
        r"objects/[0-9a-f]{64}|prepared/[0-9a-f]{64}|partial/[0-9a-f]{32}\.[a-z]{3,4}|"
        f"beside/{_PATH}"
    ),
    Verb.PRUNE: re.compile(_PATH),
}


@dataclass(frozen=True, slots=True)
class Order:
    """A verb and what it is about.

    `seen` is what the user saw of each name (`sightings`), in the same order, or empty; `given` and `until` say when it
    is meant (ms since the epoch, by the wall clock). The names are base ids for `retry` (with `=N`: if that makes it
    attempt N, so that an order given twice is carried out once), for `refresh` (none: everything) and for `forget` (with
    `!`: also while its task is in flight), `ID` or `ID=BASE` for `import`, paths relative to the root for `prune`, and
    what `collect.garbage` calls it for `gc`. Raises OrderError: a name is not of that form.
    """

    verb: Verb
    names: tuple[str, ...]
    seen: tuple[str, ...] = ()
    given: int | None = None
    until: int | None = None

    def __post_init__(self) -> None:
        if not self.names and self.verb is not Verb.REFRESH:
            raise OrderError(f"`{self.verb}` needs at least one name")
        if len(self.names) > MOST_NAMES:
            raise OrderError(
                f"an order names at most {MOST_NAMES:,} things", hint="Name fewer at a time."
            )
        for name in self.names:
            climbs = self.verb in {Verb.PRUNE, Verb.GC} and ".." in PurePosixPath(name).parts
            if climbs or not _NAMES[self.verb].fullmatch(name):
                raise OrderError(f"`{self.verb}` does not take {name[:100]!r}")
        if self.seen and len(self.seen) != len(self.names):
            raise OrderError("an order must say what was seen for each of its names, or for none")

    def __str__(self) -> str:
        more = f" and {len(self.names) - 3:,} more" if len(self.names) > 3 else ""
        return f"`{' '.join([self.verb, *self.names[:3]])}`{more}"

    def untimely(self, now: int) -> str:
        """Return why the order is not valid at this time, as the end of a sentence; empty where it is."""
        if self.given is None or self.until is None:
            return "it does not say until when it is valid"
        if now > self.until:
            return f"it came {(now - self.until) / SECOND:,.0f} s too late"
        if now < self.given - _CLOCKS_DIFFER:
            return "the clock has been set back since it was given"
        return ""

    def document(self) -> dict[str, object]:
        """Return the order as it travels."""
        document: dict[str, object] = {"verb": self.verb.value, "names": list(self.names)}
        said = {"seen": list(self.seen) or None, "given": self.given, "until": self.until}
        return document | {key: value for key, value in said.items() if value is not None}

    @classmethod
    def read(cls, document: Mapping[str, object]) -> Self:
        """Return the order that a document holds; raises OrderError where a program wrote nonsense into it."""
        verb, names = document.get("verb"), document.get("names")
        if not isinstance(verb, str) or verb not in set(Verb):
            raise OrderError(f"there is no order {str(verb)[:100]!r}")
        seen = document.get("seen", [])
        if not _are_texts(names) or not _are_texts(seen):
            raise OrderError(
                "the names in an order must be a list of texts, and so must what was seen"
            )
        given, until = (_moment(document.get(key)) for key in ("given", "until"))
        if not seen:
            names = dict.fromkeys(names)
        return cls(Verb(verb), tuple(names), tuple(seen), given, until)


def _are_texts(found: object) -> TypeGuard[list[str]]:
    return isinstance(found, list) and all(isinstance(one, str) for one in found)


def _moment(found: object) -> int | None:
    if found is not None and (not isinstance(found, int) or isinstance(found, bool)):
        raise OrderError("the time in an order must be a number of milliseconds")
    return found


async def carry_out(
    order: Order, ports: Ports, options: Options, records: Records, survey: Survey
) -> Outcome:
    """Do what was ordered, as far as it still holds, and say what came of it.

    A name that cannot be served stops no other; a provider that cannot be asked does. `survey` is made now. Creates no task.
    """
    records.take_over(survey.records.values())
    context = OrderContext(ports, options, records, survey)
    seen = dict(zip(order.names, order.seen, strict=False))  # of each name, or empty
    if order.verb is Verb.REFRESH:
        return await refresh(context, order.names)
    if order.verb is Verb.GC:
        return await collect(context, order.names, seen)
    outcomes = []
    for number, name in enumerate(order.names, 1):
        try:
            outcomes.append(await _one(context, order.verb, name, seen.get(name, "")))
        except ReconcilerError as error:
            outcomes.append(Outcome.refused(f"{name}: {in_a_line(error)}"))
            if isinstance(error, AccountTrouble | TryLater):
                if left := len(order.names) - number:
                    was = "was" if left == 1 else "were"
                    outcomes.append(Outcome.refused(f"{left:,} more {was} not tried after that"))
                break
    return Outcome.of(outcomes)


async def _one(context: OrderContext, verb: Verb, name: str, seen: str) -> Outcome:
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


def parts(verb: str, name: str) -> tuple[str, str]:
    """Return the base id in an order's name (empty: none), and the rest of the name."""
    match verb:
        case "retry":
            base_id, _, attempt = name.partition("=")
            return base_id, attempt
        case "import":
            task, _, base_id = name.partition("=")
            return base_id, task
        case "forget":
            return name.removesuffix("!"), "!" * name.endswith("!")
    return "", name


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
        case "retry":
            if record is None or record.status is Status.REJECTED or not rest.isdigit():
                return False
            return record.attempt >= int(rest)
        case _:
            return record is not None and rest in {record.task_id, record.external_task_id}
