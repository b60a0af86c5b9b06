"""What an attempt counts for, and what units cost.

Money is exact as a value, by the user's price of a unit, and rounded only in words for people.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Final, NamedTuple

from reconciler.core.kinds import dearest
from reconciler.core.states import LIVE, Status

EXACT: Final = Context(prec=200)  # the usual 28 digits could round a sum past a cap
_CENT = Decimal("0.01")


class UnitPrice(NamedTuple):
    """What one provider unit costs the user."""

    amount: Decimal  # in the currency, per unit
    currency: str  # three capital letters

    def of(self, units: Decimal) -> Decimal:
        """Return the cost of these units, exactly."""
        return EXACT.multiply(units, self.amount)

    def told(self, units: Decimal) -> str:
        """Return the cost of these units, for people: `3.36 USD`."""
        return f"{self.rounded(units)} {self.currency}"

    def rounded(self, units: Decimal) -> str:
        """Return the cost of these units to a hundredth, half up: `3.36`."""
        cost = self.of(units).quantize(_CENT, rounding=ROUND_HALF_UP, context=EXACT)
        return f"{cost + 0:,f}"  # no minus before a zero


def total(amounts: Iterable[Decimal]) -> Decimal:
    """Return the exact sum."""
    found = Decimal(0)
    for amount in amounts:
        found = EXACT.add(found, amount)
    return found


def units_text(units: Decimal | None) -> str | None:
    """Return units as a decimal string without trailing zeros; None for None."""
    if units is None:
        return None
    text = f"{units:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


FREE = (Status.PENDING, Status.REJECTED)  # nothing is billed: never sent, or refused
_BEYOND = 10  # times the most expensive request: a larger deduction is not believed


def believed(units: Decimal | None, estimated: Decimal) -> Decimal | None:
    """Return a deduction that is possible; None for none, a negative one, or one beyond every price."""
    if units is None or not units.is_finite():
        return None
    return units if 0 <= units <= _BEYOND * max(estimated, dearest()) else None


def charged(status: Status | str, estimated: Decimal, units: Decimal | None) -> Decimal:
    """Return how many provider units an attempt counts for.

    A task that has not ended may still be charged more: until then the larger of estimate and deduction counts.
    An impossible deduction leaves the estimate in force.
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
    """Return the sentence about an impossible deduction."""
    return (
        f"{external_task_id}: the provider says that it deducted {units_text(said)} units, which no such task costs; "
        f"the estimate, {units_text(counted)}, counts instead; check the provider's bill"
    )
