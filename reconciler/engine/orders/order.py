"""Orders: what somebody asks for by a command that names it. Whoever may write the state carries them out.

The command shows an order and has it confirmed; it travels as a document where a daemon holds the lock. Time
passes in between, so an order says what its giver saw and until when it is meant, and everything is checked again
here: what does not hold any more is said and skipped, never forced. No order creates a task: `buy.create` alone can spend money.

Whoever keeps other work going meanwhile sees to it that no turn of the same generation is under way.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Self, TypeGuard

from reconciler.core.errors import ReconcilerError, in_a_line
from reconciler.core.schedule import SECOND
from reconciler.engine.observe.survey import Survey
from reconciler.engine.orders.attempts import adopt, refresh, retry
from reconciler.engine.orders.collect import collect
from reconciler.engine.orders.fitting import misfit, parts
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
    """No order that can be understood."""


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

    `seen` is what its giver saw of each name (`fitting`), in the same order, or empty; `given` and `until` say when it is
    meant (ms since the epoch, by the wall clock). The names are base ids for `retry` (with `=N`: if that makes it attempt
    N, so that an order which is given twice is carried out once), for `refresh` (none: everything) and for `forget` (with
    `!`: also while its task is in flight), `ID` or `ID=BASE` for `import`, paths relative to the root for `prune`, and
    what `collect.garbage` calls it for `gc`.

    Raises OrderError: a name is none.
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
        """Return why the time of an order is over (or was never), as the end of a sentence; empty while it is not.

        A clock that was set in between proves nothing: in doubt it is too late.
        """
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
        """Return the order that a document holds.

        Raises OrderError: it holds none. Any program of this user can write nonsense into the table.
        """
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

    One name that cannot be served stops no other; a provider that cannot be asked does. `survey` is one made now.
    Never creates a task.
    """
    records.take_over(survey.records.values())
    context = OrderContext(ports, options, records, survey)
    seen = dict(zip(order.names, order.seen, strict=False))  # of none, or of each
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
                    sentence = f"{left:,} more {was} not tried after that"
                    outcomes.append(Outcome.refused(sentence))
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
