"""Units in money: exact as a value, rounded for people only."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.spending import UnitPrice, total

_PRICES = st.decimals(0, 10**6, places=10, allow_nan=False)
_UNITS = st.decimals(0, 10**12, places=12, allow_nan=False)


@pytest.mark.parametrize(
    ("units", "price", "told", "reason"),
    [
        ("24", "0.14", "3.36 USD", "as it is"),
        ("2.656", "0.14", "0.37 USD", "0.37184 is rounded down"),
        ("0.5", "0.01", "0.01 USD", "half a cent is rounded up"),
        ("-0.001", "0.14", "0.00 USD", "no minus before a zero"),
        ("0", "0.14", "0.00 USD", "nothing"),
        ("10000", "0.14", "1,400.00 USD", "thousands apart"),
    ],
)
def test_money_is_rounded_for_people(units: str, price: str, told: str, reason: str) -> None:
    """To a hundredth, half up, with the currency."""
    assert reason
    assert UnitPrice(Decimal(price), "USD").told(Decimal(units)) == told


@given(amounts=st.lists(_UNITS, max_size=20), price=_PRICES)
def test_money_of_a_sum_is_the_sum_of_the_money(amounts: list[Decimal], price: Decimal) -> None:
    """Nothing is rounded before it is shown, however many digits there are."""
    unit = UnitPrice(price, "USD")
    assert unit.of(total(amounts)) == total([unit.of(amount) for amount in amounts])
