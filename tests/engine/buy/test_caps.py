"""Caps, seen from the provider's ledger: what was billed, whatever raced and however often it was run."""

from __future__ import annotations

import json
from decimal import Decimal

from reconciler.core.schedule import DAY
from reconciler.store.values import Caps
from tests.engine.world import World, now_ms
from tests.support.simulator import Simulator

_TEN = Decimal(
    10
)  # four generations of 2.5 units each: 10 s is the most that an unknown length can be
_PRICES = {"kling-v2-6": {"std": Decimal("0.25")}}


def _want(project: World, count: int) -> None:
    project.prices = _PRICES
    for number in range(count):
        project.write(f"{number:02d}.yaml", prompt=f"step {number}")


def test_fifty_generations_racing_in_one_run_are_billed_up_to_the_cap(
    project: World, sim: Simulator
) -> None:
    """All of them are ready at once, with a slot for each."""
    _want(project, 50)
    project.apply(caps=Caps(per_run=_TEN, per_day=Decimal(1000)), concurrency=50)
    assert list(sim.billed().values()) == [1] * 4
    assert sum("cap of 10 units per run" in reason for reason in project.told.holds.values()) == 46


def test_fifty_runs_in_a_row_are_billed_up_to_the_cap_of_the_day(
    project: World, sim: Simulator
) -> None:
    """Every run wants more than the day allows, and has an id of its own."""
    _want(project, 6)
    for _ in range(50):
        project.apply(caps=Caps(per_day=_TEN), concurrency=6)
    assert list(sim.billed().values()) == [1] * 4


def test_purchase_whose_receipt_tells_no_deduction_counts_after_a_loss(
    project: World, sim: Simulator
) -> None:
    """The state is gone, and the receipt does not say what it cost: it counts what it would cost now."""
    _want(project, 1)
    project.apply()
    place = project.root / "specs/00.receipt.json"
    receipt = json.loads(place.read_text())
    receipt["generations"][0]["units"] = None
    place.write_text(json.dumps(receipt))
    project.lose_state()
    _want(project, 2)
    project.apply(caps=Caps(per_day=Decimal(4)))
    assert list(sim.billed().values()) == [1]


def test_a_calendar_that_was_set_back_passes_no_cap_of_its_day(
    project: World, sim: Simulator
) -> None:
    """Our clock is a day on since the last purchase, and the calendar shows the same day again."""
    _want(project, 2)
    project.clock = project.calendar = lambda: now_ms() + DAY
    project.apply(caps=Caps(per_day=Decimal(4)))
    project.clock = lambda: now_ms() + 2 * DAY
    project.apply(caps=Caps(per_day=Decimal(4)))
    assert list(sim.billed().values()) == [1]
    project.calendar = project.clock
    project.apply(caps=Caps(per_day=Decimal(4)))
    assert list(sim.billed().values()) == [1, 1]
