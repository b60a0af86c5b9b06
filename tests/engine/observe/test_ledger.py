"""The ledger says of an attempt what the caps count for it."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

from hypothesis import given

from reconciler.core.motion_control import UNITS_PER_SECOND
from reconciler.core.spending import charged, total
from reconciler.core.states import Record, Status
from reconciler.engine.observe.purchases import everything_bought
from reconciler.store.values import Forgotten, Ledger
from reconciler.workspace.read.loader import Desired
from tests.engine.world import World
from tests.store.builders import DAY, record, records
from tests.support.simulator import Simulator

_NOTHING = Desired((), {}, (), {}, frozenset())


@given(attempt=records)
def test_what_is_spent_is_what_caps_count(attempt: Record) -> None:
    """Whatever status it has and whatever was deducted; what counts nothing and failed is no purchase."""
    bought = everything_bought(Path(), Ledger((attempt,), ()), _NOTHING, {})
    counts = charged(attempt.status, attempt.estimated_units, attempt.units)
    assert total(purchase.spent for purchase in bought.purchases) == counts


def test_a_forgotten_attempt_that_was_found_again_is_one_purchase() -> None:
    """Its record tells it; a record that was never sent does not, and hides nothing."""
    gone = Forgotten("mc1-a", "mc1-a", record().estimated_units, DAY, None)
    paid = record(status=Status.COMPLETE, units=Decimal(9))
    for again, spent in ((paid, Decimal(9)), (record(status=Status.PENDING), gone.units)):
        (purchase,) = everything_bought(Path(), Ledger((again,), (gone,)), _NOTHING, {}).purchases
        assert purchase.spent == spent


def test_a_receipt_tells_what_this_state_has_not_seen(project: World, sim: Simulator) -> None:
    """Somebody else bought what still waits here, and the receipt came by git; what both know is one purchase."""
    project.write("dance.yaml")
    project.apply()
    desired, ledger = project.survey().desired, project.repository.ledger()
    (mine,) = everything_bought(project.root, ledger, desired, {}).purchases
    waiting = ledger.attempts[0].evolve(status=Status.PENDING, units=None, task_id=None)
    for state in (Ledger((waiting,), ()), Ledger((), ())):
        (told,) = everything_bought(project.root, state, desired, {}).purchases
        assert (told.spent, told.spec, told.wanted) == (mine.spent, "specs/dance.yaml", True)


def test_a_receipt_that_tells_no_deduction_counts_by_its_price(
    project: World, sim: Simulator
) -> None:
    """By the length of its video; the sum is marked as an estimate. A request that makes no sense counts 0."""
    project.write("dance.yaml")
    project.apply()
    place = project.root / "specs/dance.receipt.json"
    for model, spent in (("kling-v2-6", Decimal("2.5")), (None, Decimal(0))):
        receipt = json.loads(place.read_text())
        receipt["generations"][0]["units"] = None
        receipt["generations"][0]["request"].pop("model_name")
        if model:
            receipt["generations"][0]["request"]["model_name"] = model
        place.write_text(json.dumps(receipt))
        desired = project.survey().desired
        (told,) = everything_bought(
            project.root, Ledger((), ()), desired, UNITS_PER_SECOND
        ).purchases
        assert (told.spent, told.deducted) == (spent, None)
