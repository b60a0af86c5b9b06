"""A history as a frozen value, drawn from a seed: who wants what, how it is worked on, and all that goes wrong.

What is drawn stays inside of what docs/operations.md promises; each limit says so where it is drawn. Times are in
virtual seconds.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from tests.simulation.crash import Death
from tests.simulation.middlebox import Interference
from tests.simulation.trouble import draw_faults

Work = Literal["apply", "watch"]
End = Literal["itself", "asked", "cut off"]

HIDDEN_S = (0.0, 0.0, 1.0, 5.0, 12.0, 20.0)
"""How long a new task may be hidden: clearly less than the grace period of 30 s, which is what is promised."""
LOSES_STATE = frozenset({"lose_state", "lose_state_and_outputs", "lose_everything"})
BETWEEN_LIVES = LOSES_STATE | {"lose_objects"}
"""What nobody does while a process works on the folder; `clean` does it all the same."""


@dataclass(frozen=True, slots=True)
class Act:
    """Something that happens to the folder or around it; `what` names a trouble of `Player`, or a method of `Author`."""

    what: str
    value: float | int | str = ""
    which: int = 0
    """Of the specs that there are then, counted round."""
    lasts: float = 0.0
    """When it ends by itself, where it is a trouble that does."""


@dataclass(frozen=True, slots=True)
class Chapter:
    """One process, and what happens while it lives; what it does not live to see happens all the same."""

    before: tuple[Act, ...]
    work: Work
    seconds: float
    """How long it may live."""
    death: Death | None
    end: End
    """How it ends when it is still there after its time."""
    meanwhile: tuple[tuple[float, Act], ...]
    """After how many seconds, counted from the one before."""
    machine: int = 0
    """Where it runs, and all of this happens."""


@dataclass(frozen=True, slots=True)
class History:
    """Everything that a seed decides."""

    seed: int
    provider: Mapping[str, Any]
    """Fields of `SimulatorConfig`."""
    faults: tuple[Mapping[str, Any], ...]
    specs: tuple[Act, ...]
    """The folder in the beginning."""
    chapters: tuple[Chapter, ...]
    finale: Work
    """Who finishes the work once all trouble is over."""
    hazards: tuple[str, ...] = ()
    """What it is about beside the everyday: names of `hazards.HAZARDS`."""
    machines: int = 1
    """Working copies of the specs, each with a state of its own."""
    carries_receipts: bool = True
    """Whether receipts are committed, where there are several machines."""
    cap: Decimal | None = None
    """Provider units per day, until all trouble is over."""
    interferences: tuple[Interference, ...] = ()
    is_retried: bool = False
    """Whether whoever finishes the work has everything tried again that ended badly."""

    @property
    def may_bill_again(self) -> bool:
        """Whether the provider bills a repeated id."""
        return bool(self.provider["duplicate_ids"] == "bill_again")


def draw_history(seed: int) -> History:
    """Return the history of a seed."""
    draw = random.Random(seed)
    provider = _provider(draw, seed)
    chapters = tuple(_chapter(draw) for _ in range(draw.randint(1, 5)))
    return History(
        seed=seed,
        provider=provider,
        faults=draw_faults(draw),
        specs=tuple(_add(draw, number) for number in range(draw.choice((1, 1, 2, 3, 4, 6, 8)))),
        chapters=chapters,
        finale=draw.choice(("apply", "watch")),
    )


def _provider(draw: random.Random, seed: int) -> dict[str, Any]:
    return {
        "seed": str(seed),
        "duplicate_ids": draw.choice(("refuse", "first", "bill_again", "bill_again")),
        "unknown_ids": draw.choice(("404", "400", "empty", "null", "list")),
        "cleared": draw.choice(("unknown", "no_url")),
        "list_order": draw.choice(("newest", "oldest")),
        "query_lag_s": draw.choice(HIDDEN_S),
        "alien_status": draw.choice(("", "", "", "simmering")),
        "concurrency": draw.randint(1, 5),
        "task_s": draw.choice((8.0, 20.0, 45.0, 120.0)),
        "queue_s": draw.choice((0.0, 5.0)),
    }


def _chapter(draw: random.Random) -> Chapter:
    before = tuple(_act(draw, between=True) for _ in range(draw.choices((0, 1, 2), (5, 4, 2))[0]))
    meanwhile = tuple(
        (draw.choice((1.0, 8.0, 40.0, 200.0)) * draw.uniform(0.1, 2), _act(draw, between=False))
        for _ in range(draw.choices((0, 1, 2, 4, 7), (2, 3, 3, 3, 1))[0])
    )
    work: Work = draw.choice(("apply", "apply", "watch"))
    return Chapter(
        before=before,
        work=work,
        seconds=draw.choice((20.0, 90.0, 400.0, 1500.0)) * draw.uniform(0.3, 1.5),
        death=_death(draw, work),
        end=draw.choice(("asked", "cut off")),
        meanwhile=meanwhile,
    )


def _death(draw: random.Random, work: Work) -> Death | None:
    """Return a death: anywhere, or near a create, where most is at stake."""
    kind = draw.choices(("", "step", "effect", "create"), (3, 3, 4, 6))[0]
    if kind == "step":
        return Death("step", round(draw.lognormvariate(5.0 if work == "apply" else 5.8, 1.2)) + 1)
    if kind == "effect":
        return Death("effect", round(draw.lognormvariate(3.4, 1.1)) + 1)
    if kind == "create":
        number = draw.choice((1, 1, 2, 3, 5))
        if draw.random() < 0.6:
            return Death("step", draw.randint(1, 15), number)
        return Death("effect", draw.randint(1, 4), number)
    return None


_ACTS = {
    "edit": 6,
    "revert": 3,
    "rename": 2,
    "remove": 2,
    "add": 3,
    "defaults": 1,
    "picture": 1,
    "lose_output": 2,
    "lose_outputs": 1,
    "lose_receipts": 1,
    "jump": 3,
    "outage": 3,
    "strand": 3,
    "disk": 2,
    "account": 2,
    "nap": 2,
}
_ACTS_BETWEEN = {"lose_state": 4, "lose_state_and_outputs": 3, "lose_objects": 2}


def _act(draw: random.Random, *, between: bool) -> Act:
    weights = _ACTS | (_ACTS_BETWEEN if between else {})
    what = draw.choices(list(weights), list(weights.values()))[0]
    if what == "add":
        return _add(draw, draw.randrange(100, 1000))
    value, which = _value(draw, what), draw.randrange(100)
    return Act(what, value, which, _lasts(draw) if what in _PASSING else 0.0)


_PASSING = frozenset({"outage", "disk", "account"})


def _lasts(draw: random.Random) -> float:
    return draw.choice((3.0, 20.0, 60.0, 400.0)) * draw.uniform(0.3, 1.5)


def _value(draw: random.Random, what: str) -> float | str:
    match what:
        case "edit" | "defaults" | "picture":
            return draw.random()
        case "jump":
            size = draw.choice((5.0, 70.0, 900.0, 7200.0, 3 * 86400.0)) * draw.uniform(0.5, 1)
            return size * draw.choice((-1, 1))
        case "outage":
            return draw.choice(("refused", "timeout"))
        case "disk":
            return draw.choice(("files", "database", "all"))
        case "account":
            return draw.choice(("1102", "1101", "1000", "1302"))
        case "strand":
            return draw.choice((15.0, 45.0, 90.0, 600.0))
        case "nap":
            return draw.choice((5.0, 60.0, 900.0))
    return ""


_KINDS = ("plain", "plain", "takes", "matrix", "retries", "unlucky", "custom", "local", "watermark")


def _add(draw: random.Random, number: int) -> Act:
    """Return the act of writing a new spec of some kind."""
    return Act("add", f"{draw.choice(_KINDS)}:{number}", draw.randrange(100))
