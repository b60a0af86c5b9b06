"""A daemon at a provider that answers no create: few are sent, and when it is well again nobody has to restart anything."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

from reconciler.core.motion_control import UNITS_PER_SECOND
from reconciler.core.schedule import HOUR, SECOND
from reconciler.core.states import Status
from reconciler.engine.ports import Options
from reconciler.engine.run.daemon import Daemon, Duties, Pace
from reconciler.simulator.plans import parse_plan
from reconciler.workspace.index.spec_index import SpecIndex
from tests.simulation.lives import Events, ports_on
from tests.simulation.loop import run, running
from tests.simulation.soak import SPEC
from tests.simulation.wire import Wire
from tests.simulation.world import START, account
from tests.support.database import open_repository
from tests.support.ports import Told

SICK: list[dict[str, Any]] = [{"endpoint": "create", "effect": {"status": 502}}]


def test_a_generation_whose_creates_were_not_answered_is_tried_again_by_itself(
    tmp_path: Path,
) -> None:
    """Ten hours of 502: three creates, then one after an hour, two, four; then, without a restart, one purchase."""
    told = Told()

    async def story() -> tuple[list[int], dict[str, int], Status]:
        wire, root = Wire(seed="brake"), tmp_path / "project"
        (root / "specs").mkdir(parents=True)
        (root / "state").mkdir()
        (root / "specs" / "dance.yaml").write_text(SPEC.format(prompt="waves", takes=1))
        repository = open_repository(root / "state" / "reconciler.db")
        index = SpecIndex(root, "specs", prices=UNITS_PER_SECOND)
        events = Events(random.Random(1))
        duties = Duties(index, events, Pace(settle=0, tick=30 * SECOND))
        stop, fired = asyncio.Event(), []
        async with (
            account(tmp_path / "account", wire, faults=tuple(SICK)) as provider,
            ports_on(wire, root, repository, told, running().wall_ms) as ports,
        ):
            daemon = Daemon(ports, Options("run-1", enduring=True), duties)
            life = asyncio.create_task(daemon.run(stop, begun=lambda: None))
            for _ in range(10):
                await asyncio.sleep(HOUR / 1000)
                fired.append(provider.plan.rules[0].fired)
            provider.plan = parse_plan([])
            await asyncio.sleep(6 * HOUR / 1000)
            stop.set()
            await life
            billed: Any = provider.ledger.report()["billed"]
            (record,) = repository.records().values()
        repository.close()
        return fired, billed, record.status

    fired, billed, status = run(story(), start=START)
    assert fired == [3, 4, 4, 5, 5, 5, 5, 6, 6, 6]
    assert list(billed.values()) == [1]
    assert status is Status.COMPLETE
    assert any("ask the provider" in reason for reason in told.holds.values())
