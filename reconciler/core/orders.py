"""Orders as values: what the user asks for by a command, how it travels to a daemon, and what came of it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Self, TypeGuard

from reconciler.core.errors import ReconcilerError
from reconciler.core.schedule import SECOND

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
            climbs = self.verb in {Verb.PRUNE, Verb.GC} and ".." in name.split("/")
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


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an order, in sentences for people."""

    said: tuple[str, ...] = ()
    touched: frozenset[str] = frozenset()  # base ids to be looked at again
    ok: bool = True  # False: something that was asked for could not be done

    @classmethod
    def of(cls, parts: Iterable[Outcome]) -> Outcome:
        """Return several outcomes as one."""
        found = list(parts)
        return cls(
            tuple(sentence for part in found for sentence in part.said),
            frozenset().union(*(part.touched for part in found)),
            all(part.ok for part in found),
        )

    @classmethod
    def done(cls, sentence: str, *touched: str) -> Self:
        """It was done."""
        return cls((sentence,), frozenset(touched))

    @classmethod
    def left(cls, sentence: str) -> Self:
        """There was nothing to do, and that is fine."""
        return cls((sentence,))

    @classmethod
    def refused(cls, sentence: str) -> Self:
        """It could not be done, or must not be; nothing was changed."""
        return cls((sentence,), ok=False)

    def document(self) -> dict[str, object]:
        """Return the outcome as it travels to the command."""
        return {"said": list(self.said), "touched": sorted(self.touched), "ok": self.ok}

    @classmethod
    def read(cls, document: Mapping[str, object]) -> Self:
        """Return the outcome in a document; one without `ok` is not ok."""
        said, touched = document.get("said"), document.get("touched")
        return cls(
            tuple(map(str, said)) if isinstance(said, list) else (),
            frozenset(map(str, touched)) if isinstance(touched, list) else frozenset(),
            document.get("ok") is True,
        )
