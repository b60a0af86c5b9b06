"""What was spent, on what, and what was wasted: purchases grouped and summed, in units."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from reconciler.core.moments import UNKNOWN, day_of
from reconciler.core.spending import EXACT, total
from reconciler.core.states import Status


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
    spec: str  # relative to the root; empty where it is unknown
    model: str
    status: Status | None  # None: it was forgotten
    estimated: Decimal
    deducted: Decimal | None  # None: not known (yet), so the estimate counts
    wanted: bool  # some spec asks for it today
    disbelieved: Decimal | None = None  # what the provider says it deducted, where that cannot be

    @property
    def spent(self) -> Decimal:
        """The units that it counts for."""
        return self.estimated if self.deducted is None else self.deducted

    @property
    def is_wasted(self) -> bool:
        """Whether it may be paid for without a result: expired, or failed."""
        return self.status in {Status.EXPIRED, Status.FAILED}

    @property
    def day(self) -> str:
        """The day (UTC) that it counts for."""
        return day_of(self.at)


@dataclass(frozen=True, slots=True)
class Sums:
    """The sums of several purchases, in provider units."""

    attempts: int = 0
    estimated: Decimal = Decimal(0)  # of all attempts
    deducted: Decimal = Decimal(0)  # where that is known
    undetermined: Decimal = Decimal(0)  # the estimates of the others
    difference: Decimal = Decimal(0)  # deducted less estimated, where both are known
    wasted: Decimal = Decimal(0)
    unwanted: Decimal = Decimal(0)  # no spec asks for it now; no waste, it comes back with its spec

    @property
    def spent(self) -> Decimal:
        """The deductions, and the estimates where none is known."""
        return EXACT.add(self.deducted, self.undetermined)


def total_of(purchases: Collection[Purchase]) -> Sums:
    """Return the sums of purchases."""
    known = [(one.deducted, one.estimated) for one in purchases if one.deducted is not None]
    return Sums(
        attempts=len(purchases),
        estimated=total(one.estimated for one in purchases),
        deducted=total(deducted for deducted, _ in known),
        undetermined=total(one.estimated for one in purchases if one.deducted is None),
        difference=total(EXACT.subtract(deducted, estimated) for deducted, estimated in known),
        wasted=total(one.spent for one in purchases if one.is_wasted),
        unwanted=total(one.spent for one in purchases if not one.wanted and not one.is_wasted),
    )


def group(purchases: Iterable[Purchase], by: By) -> dict[str, Sums]:
    """Return the sums of each group by its name, sorted, the unknown one last."""
    name_of, groups = _NAMES[by], defaultdict[str, list[Purchase]](list)
    for purchase in purchases:
        groups[name_of(purchase)].append(purchase)
    names = sorted(groups, key=lambda name: (name == UNKNOWN, name))
    return {name: total_of(groups[name]) for name in names}


def between(
    purchases: Iterable[Purchase], since: str | None, until: str | None
) -> tuple[Purchase, ...]:
    """Return the purchases of these days (`2026-11-25`, UTC, both included); a period holds none of an unknown day."""
    if since is None and until is None:
        return tuple(purchases)
    first, last = since or "", until or "9999-12-31"
    return tuple(p for p in purchases if p.day != UNKNOWN and first <= p.day <= last)


_NAMES: Mapping[By, Callable[[Purchase], str]] = {
    By.DAY: lambda purchase: purchase.day,
    By.SPEC: lambda purchase: purchase.spec or UNKNOWN,
    By.MODEL: lambda purchase: purchase.model or UNKNOWN,
    By.FOLDER: lambda purchase: purchase.spec.rpartition("/")[0] or UNKNOWN,
    By.ATTEMPT: lambda purchase: purchase.external_task_id,
}
