"""Units in money, by the user's price of a unit: exact as a value, rounded only in words for people."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Final

EXACT: Final = Context(prec=200)  # the usual 28 digits could round a sum past a cap
_CENT = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class UnitPrice:
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
