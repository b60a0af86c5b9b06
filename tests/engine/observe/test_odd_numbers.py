"""Numbers that the provider tells and that cannot be: each counts on one day, for what it can be, and breaks nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from decimal import Decimal

import httpx
import pytest

from reconciler.core.moments import day_of
from reconciler.core.purchases import By, group
from reconciler.core.schedule import DAY
from reconciler.core.states import Status
from reconciler.engine.observe.purchases import everything_bought
from reconciler.store.values import Caps
from reconciler.workspace.read.loader import load
from tests.engine.world import World, now_ms
from tests.support.simulator import Simulator


class Spoiled(httpx.AsyncBaseTransport):
    """The real wire, with numbers in the provider's answers replaced."""

    def __init__(self, **numbers: Callable[[str], object]) -> None:
        self._numbers = numbers
        self._wire = httpx.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answer = await self._wire.handle_async_request(request)
        text = (await answer.aread()).decode()
        for name, spoil in self._numbers.items():
            for found in set(re.findall(rf'"{name}":\s*"?[0-9.]+"?', text)):
                text = text.replace(found, f'"{name}":{json.dumps(spoil(found))}')
        return httpx.Response(answer.status_code, text=text)

    async def aclose(self) -> None:
        await self._wire.aclose()


_TIMES: dict[str, Callable[[str], object]] = {
    "seconds": lambda _: now_ms() // 1000,  # not the simulator's, whose days pass quickly
    "microseconds": lambda _: now_ms() * 1000,
    "nanoseconds in a string": lambda _: f"{now_ms()}000000",
    "zero": lambda _: 0,
    "negative": lambda _: -5,
    "the largest": lambda _: 2**63 - 1,
    "18 digits": lambda _: 999_999_999_999_999_999,
    "a year ahead": lambda _: now_ms() + 365 * DAY,
    "the year 9000": lambda _: 221_845_392_000_000,
}


@pytest.mark.parametrize("spoil", _TIMES.values(), ids=_TIMES)
def test_an_adopted_task_of_any_time_counts_today_and_only_today(
    project: World, sim: Simulator, spoil: Callable[[str], object]
) -> None:
    """State and receipt are lost, the task is found again: under today's cap it counts, under tomorrow's it does not."""
    project.write("a.yaml")
    project.transport = Spoiled(created_at=spoil, updated_at=spoil)
    project.apply()
    for lost in (
        "state and receipt",
        "state",
    ):  # it is found at the provider; then its receipt tells
        if "receipt" in lost:
            (project.root / "specs/a.receipt.json").unlink()
        project.lose_state()
        project.apply()
        assert [item.status for item in project.plan().assessments] == [Status.COMPLETE]
        (record,) = project.repository.records().values()
        assert day_of(record.calendar_at) == day_of(now_ms())
        project.write("b.yaml", prompt="another")
        project.apply(caps=Caps(per_day=Decimal(6)))
        assert len(sim.billed()) == 1
        (project.root / "specs/b.yaml").unlink()
    project.write("b.yaml", prompt="another")
    project.clock = project.calendar = lambda: now_ms() + DAY
    project.apply(caps=Caps(per_day=Decimal(6)))
    assert len(sim.billed()) == 2
    assert set(sim.billed().values()) == {1}


@pytest.mark.parametrize("said", ["999999999999", "99999.5"])
def test_a_deduction_that_no_request_costs_leaves_the_estimate_in_force(
    project: World, sim: Simulator, said: str
) -> None:
    """It does not shut the cap for the day; it is said, and `spend` shows what was said and what counts."""
    project.write("a.yaml")
    project.transport = Spoiled(final_unit_deduction=lambda _: said)
    project.apply(caps=Caps(per_day=Decimal(10)))
    assert any(
        said in sentence and "the estimate, 5, counts" in sentence for sentence in project.told.said
    )
    project.write("b.yaml", prompt="another")
    project.apply(caps=Caps(per_day=Decimal(10)))
    assert list(sim.billed().values()) == [1, 1]
    desired = load(project.root, "specs", prices=project.prices)
    for spent in (10, 5):  # by the state, then by receipts, which tell how long the videos are
        ledger = project.repository.ledger()
        bought = everything_bought(project.root, ledger, desired, project.prices).purchases
        assert [str(purchase.disbelieved) for purchase in bought] == [said, said]
        (sums,) = group(bought, By.MODEL).values()
        assert (sums.spent, sums.deducted, sums.undetermined) == tuple(
            map(Decimal, (spent, 0, spent))
        )
        project.lose_state()
    project.write("c.yaml", prompt="a third")
    project.apply(caps=Caps(per_day=Decimal(10)))
    assert len(sim.billed()) == 2, "what the receipts tell counts by estimate, too"
