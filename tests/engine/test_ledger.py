"""The ledger says of an attempt what the caps count for it."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given

from reconciler.core.money import total
from reconciler.core.spending import charged
from reconciler.core.states import Record, Status
from reconciler.engine.ledger import everything_bought
from reconciler.store.changes import Forgotten, Ledger
from reconciler.workspace.loader import Desired
from tests.store.builders import record, records

_NOTHING = Desired((), {}, (), {}, frozenset())


@given(attempt=records)
def test_what_is_spent_is_what_caps_count(attempt: Record) -> None:
    """Whatever status it has and whatever was deducted; what counts nothing and failed is no purchase."""
    bought = everything_bought(Path(), Ledger((attempt,), ()), _NOTHING, {})
    counts = charged(attempt.status, attempt.estimated_units, attempt.units)
    assert total(purchase.spent for purchase in bought.purchases) == counts


def test_a_forgotten_attempt_that_was_found_again_is_one_purchase() -> None:
    """Its record tells it; a record that was never sent does not, and hides nothing."""
    gone = Forgotten("mc1-a", "mc1-a", record().estimated_units, 1)
    for again in (record(), record(status=Status.PENDING)):
        (purchase,) = everything_bought(Path(), Ledger((again,), (gone,)), _NOTHING, {}).purchases
        assert purchase.spent == gone.units
