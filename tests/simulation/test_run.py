"""The whole engine over the virtual wire: virtual minutes in real moments, and the same seed gives the same history."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reconciler.core.progress import Ended
from reconciler.core.schedule import SECOND, Rules
from reconciler.core.states import Record, Status
from reconciler.engine.ports import Options
from reconciler.store.repository import Repository
from reconciler.store.values import HistoryEntry
from tests.engine.world import SPEC
from tests.simulation.lives import apply_all, ports_on
from tests.simulation.loop import run, running
from tests.simulation.wire import Wire
from tests.simulation.world import START, account
from tests.support.database import open_repository
from tests.support.ports import Told

GENERATIONS = 20
POLL = 10 * SECOND


@dataclass(frozen=True)
class Past:
    """What a run left behind."""

    ended: Ended
    minutes: float
    records: dict[str, Record]
    history: list[HistoryEntry]
    billed: dict[str, int]
    requests: dict[str, int]
    outputs: dict[str, bytes]


def project(root: Path, count: int) -> Repository:
    """Write a folder of so many specs, and open its state."""
    (root / "specs").mkdir(parents=True)
    (root / "state").mkdir()
    for number in range(count):
        text = SPEC.format(image="girl", prompt=f"waves {number} times")
        (root / "specs" / f"dance{number:04}.yaml").write_text(text)
    return open_repository(root / "state" / "reconciler.db")


async def apply(root: Path, wire: Wire, repository: Repository, page: int = 500) -> Ended:
    """Plan and apply the whole folder over the wire, for a virtual day at most."""
    options = Options("run-1", rules=Rules(poll_interval=POLL, page=page))
    async with ports_on(wire, root, repository, Told(), running().wall_ms) as ports:
        return await apply_all(ports, options, asyncio.Event(), seconds=24 * 3600.0)


def past(
    folder: Path, *, seed: str = "1", faults: Sequence[dict[str, Any]] = (), **config: Any
) -> Past:
    """Run everything once, in a fresh folder, from the same moment."""

    async def story() -> Past:
        wire = Wire(seed=seed)
        repository = project(folder / "project", GENERATIONS)
        try:
            async with account(
                folder / "account", wire, seed=seed, faults=tuple(faults), **config
            ) as provider:
                ended = await apply(folder / "project", wire, repository)
                assert wire.crashes == []
                billed: Any = provider.ledger.report()["billed"]
                records = repository.records()
                return Past(
                    ended,
                    running().time() / 60,
                    records,
                    [entry for base in records for entry in repository.history(base)],
                    billed,
                    dict(provider.requests),
                    {
                        path.name: path.read_bytes()
                        for path in sorted((folder / "project" / "specs").glob("*.mp4"))
                    },
                )
        finally:
            repository.close()

    return run(story(), start=START)


def test_a_run_in_virtual_time_buys_all_and_waits_for_nobody(tmp_path: Path) -> None:
    """Twenty generations through five slots: each bought once, each with bytes of its own, and nobody waited."""
    seen = past(tmp_path)
    assert seen.ended is Ended.SETTLED
    assert {record.status for record in seen.records.values()} == {Status.COMPLETE}
    assert seen.billed == dict.fromkeys(seen.records, 1)
    assert len(seen.records) == len(set(seen.outputs.values())) == GENERATIONS
    assert 8 <= seen.minutes <= 25


TROUBLE: list[dict[str, Any]] = [
    {"endpoint": "create", "when": {"every": 4}, "effect": {"drop": "after"}},
    {"endpoint": "create", "when": {"calls": [4, 11]}, "effect": {"status": 502}},
    {"endpoint": "query", "when": {"every": 7}, "effect": {"stall": 20}},
    {"endpoint": "result", "when": {"every": 3}, "effect": {"cut": 300}},
]


def test_the_same_seed_gives_the_same_history(tmp_path: Path) -> None:
    """Twice the same: every record, every line of history with its ms and request id, every request and every byte."""
    once, again = (past(tmp_path / name, faults=TROUBLE) for name in ("once", "again"))
    assert once.ended is Ended.SETTLED
    assert once.billed == dict.fromkeys(once.records, 1)
    assert once == again
    assert past(tmp_path / "other", seed="2", faults=TROUBLE).history != once.history
