"""What was spent, on what, and what of it was in vain: purchases grouped and summed.

An attempt counts what the provider deducted; while that is not known, its estimate. The same count holds for caps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from reconciler.core.kinds import dearest
from reconciler.core.moments import UNKNOWN, day_of
from reconciler.core.money import EXACT
from reconciler.core.states import LIVE, Status

FREE = (Status.PENDING, Status.REJECTED)
"""Nothing is billed for an attempt that was never sent, or that was refused."""

_BEYOND = 10  # times what the dearest request costs: prices change, but not like that


def believed(units: Decimal | None, estimated: Decimal) -> Decimal | None:
    """Return a deduction that can be; None for none, and for one that is beyond every price or less than nothing."""
    if units is None or not units.is_finite():
        return None
    return units if 0 <= units <= _BEYOND * max(estimated, dearest()) else None


def charged(status: Status | str, estimated: Decimal, units: Decimal | None) -> Decimal:
    """Return how many provider units an attempt counts for.

    What is deducted from a task that has not ended can still grow: until then its estimate counts, if that is more.
    A deduction that cannot be leaves the estimate in force.
    """
    if status in FREE:
        return Decimal(0)
    known = believed(units, estimated)
    if units is not None and known is None:
        return estimated
    if status in LIVE:
        return estimated if known is None else max(estimated, known)
    if known is not None:
        return known
    return Decimal(0) if status == Status.FAILED else estimated


def disbelief(external_task_id: str, said: Decimal, counted: Decimal) -> str:
    """Return the sentence about a deduction that cannot be."""
    return (
        f"{external_task_id}: the provider says that it deducted {_plain(said)} units, which no such task costs; "
        f"the estimate, {_plain(counted)}, counts instead; check the provider's bill"
    )


def _plain(units: Decimal) -> str:
    return f"{units.normalize(EXACT):f}" if units.is_finite() else str(units)


class By(StrEnum):
    """What purchases are grouped by; the words are the command's."""

    DAY = "day"
    SPEC = "spec"
    MODEL = "model"
    FOLDER = "folder"
    ATTEMPT = "attempt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Purchase:
    """One attempt that was billed, or may be."""

    external_task_id: str
    at: int | None  # ms: when it was bought, by the calendar
    spec: str  # relative to the root; empty where nobody knows it
    model: str
    status: Status | None  # None: it was forgotten
    estimated: Decimal
    deducted: Decimal | None  # None: not known (yet), so the estimate counts
    wanted: bool  # some spec asks for it today
    disbelieved: Decimal | None = None  # what the provider says it deducted, where that cannot be

    @property
    def spent(self) -> Decimal:
        """Units that it counts for."""
        return self.estimated if self.deducted is None else self.deducted

    @property
    def is_wasted(self) -> bool:
        """Whether it was paid for, and its result is not to be had: expired, or failed and charged all the same."""
        return self.status in {Status.EXPIRED, Status.FAILED}

    @property
    def is_unwanted(self) -> bool:
        """Whether no spec asks for it any more; that is no waste, for it comes back with its spec."""
        return not self.wanted and not self.is_wasted

    @property
    def day(self) -> str:
        """The day (UTC) that it counts for."""
        return day_of(self.at)


@dataclass(frozen=True, slots=True)
class Sums:
    """What several purchases come to, in provider units; each field is a plain sum, so sums can be added."""

    attempts: int = 0
    estimated: Decimal = Decimal(0)  # of all attempts
    deducted: Decimal = Decimal(0)  # where that is known
    undetermined: Decimal = Decimal(0)  # the estimates of the others
    difference: Decimal = Decimal(0)  # deducted less estimated, where both are known
    wasted: Decimal = Decimal(0)
    unwanted: Decimal = Decimal(0)

    @property
    def spent(self) -> Decimal:
        """What was deducted, and the estimate of what is not known yet."""
        return EXACT.add(self.deducted, self.undetermined)

    def __add__(self, other: Sums) -> Sums:
        add = EXACT.add
        return Sums(
            self.attempts + other.attempts,
            add(self.estimated, other.estimated),
            add(self.deducted, other.deducted),
            add(self.undetermined, other.undetermined),
            add(self.difference, other.difference),
            add(self.wasted, other.wasted),
            add(self.unwanted, other.unwanted),
        )


def sums_of(purchase: Purchase) -> Sums:
    """Return what one purchase comes to."""
    zero, spent, known = Decimal(0), purchase.spent, purchase.deducted
    return Sums(
        attempts=1,
        estimated=purchase.estimated,
        deducted=zero if known is None else known,
        undetermined=spent if known is None else zero,
        difference=zero if known is None else EXACT.subtract(known, purchase.estimated),
        wasted=spent if purchase.is_wasted else zero,
        unwanted=spent if purchase.is_unwanted else zero,
    )


def group(purchases: Iterable[Purchase], by: By) -> dict[str, Sums]:
    """Return the sums of each group, by its name, in the order of the names; what is not known comes last."""
    name_of, sums = _NAMES[by], dict[str, Sums]()
    for purchase in purchases:
        name = name_of(purchase)
        sums[name] = sums.get(name, Sums()) + sums_of(purchase)
    return dict(sorted(sums.items(), key=lambda item: (item[0] == UNKNOWN, item[0])))


def total_of(purchases: Iterable[Purchase]) -> Sums:
    """Return what all of them come to."""
    return sum((sums_of(purchase) for purchase in purchases), Sums())


def between(
    purchases: Iterable[Purchase], since: str | None, until: str | None
) -> tuple[Purchase, ...]:
    """Return the purchases of these days (`2026-11-25`, UTC, both included).

    A purchase of an unknown day is in no period, unless all of time is meant.
    """
    if since is None and until is None:
        return tuple(purchases)
    first, last = since or "", until or "9999-12-31"
    return tuple(p for p in purchases if p.day != UNKNOWN and first <= p.day <= last)


def _folder(purchase: Purchase) -> str:
    return purchase.spec.rpartition("/")[0] or UNKNOWN


_NAMES: Mapping[By, Callable[[Purchase], str]] = {
    By.DAY: lambda purchase: purchase.day,
    By.SPEC: lambda purchase: purchase.spec or UNKNOWN,
    By.MODEL: lambda purchase: purchase.model or UNKNOWN,
    By.FOLDER: _folder,
    By.ATTEMPT: lambda purchase: purchase.external_task_id,
}
