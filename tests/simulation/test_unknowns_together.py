"""Unknowns come together: some rows of `test_unknowns` drawn by a seed and mixed, met by the whole engine.

    .venv/bin/python -m tests.simulation.test_unknowns_together 1000 2000

runs these seeds and prints what was wrong; the suite runs a few.
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from reconciler.core.errors import ReconcilerError
from reconciler.core.states import Status
from reconciler.store.repository import Repository
from tests.simulation.loop import run
from tests.simulation.test_run import project
from tests.simulation.test_unknowns import FAULTS, LATER_S, LOST, ROWS, Account, Row, Rule
from tests.simulation.world import START

WITHIN_GRACE_S = 20
SETTLED = {Status.COMPLETE, Status.FAILED}


def mixed(seed: int) -> Row:
    """Return a provider with some knobs turned and some faults, within what the client can promise at all."""
    draw = random.Random(seed)
    knobs: dict[str, Any] = {}
    for row in draw.sample(ROWS, draw.randint(1, 5)):
        knobs |= row.knobs
    if (
        draw.random() < 0.4
    ):  # the worst that can be promised for, which chance alone seldom brings together
        knobs |= {"duplicate_ids": "bill_again", "query_lag_s": WITHIN_GRACE_S}
    faults: list[Rule] = [LOST] if draw.random() < 0.7 else []
    for row in draw.sample(FAULTS, draw.randint(0, 3)):
        faults += row.faults[1:]
    if faults or knobs.get("query_lag_s"):
        knobs.pop("external_id_cut", None)  # a lost answer whose id was cut can be found by no id
    if knobs.get("duplicate_ids") == "bill_again":
        # Whoever bills a repeated id and hides an accepted task for longer than the grace is paid twice.
        for name in {"query_lag_s", "hidden_s"} & knobs.keys():
            knobs[name] = min(knobs[name], WITHIN_GRACE_S)
        if "hidden_s" in knobs:
            knobs.pop("query_lag_s", None)
    chosen = f"seed {seed}: {knobs}, {faults}"
    return Row(reason=chosen, knobs=knobs, faults=tuple(faults), generations=draw.choice((2, 3, 9)))


async def runs(seen: Account, repository: Repository) -> None:
    """Apply twice, hours apart, and twice more when the provider is as documented; an apply may find nobody there."""
    for cured in (False, False, True, True):
        try:
            await seen.run(repository, cured=cured)
        except ReconcilerError:
            if cured:
                raise
        if {record.status for record in repository.records().values()} <= SETTLED:
            return
        await asyncio.sleep(LATER_S)


def wrong(folder: Path, seed: int) -> list[str]:
    """Let one mixture happen; returns what was billed otherwise than once, or is not saved in the end."""
    row = mixed(seed)
    seen = Account(folder, row)
    repository = project(folder / "project", row.generations)
    try:
        run(runs(seen, repository), start=START)
        records = repository.records().values()
    finally:
        repository.close()
    said = [f"{name}: {one}" for name, one in seen.ledger["ids"].items() if one["billed"] != 1]
    said += [
        f"{one.spec}: {one.status}, {one.reason}" for one in records if one.status not in SETTLED
    ]
    if len(seen.ledger["bases"]) != row.generations:
        said.append(f"{len(seen.ledger['bases'])} of {row.generations} were billed")
    for record in records:
        if record.status is Status.COMPLETE and str(record.task_id).encode() not in seen.bytes_of(
            record
        ):
            said.append(f"{record.spec}: another task's bytes")
    return [f"{row.reason}: {sentence}" for sentence in said]


@pytest.mark.parametrize("seed", range(10))
def test_unknowns_together_cost_nothing_twice(tmp_path: Path, seed: int) -> None:
    """Whatever mixture: each wish is billed once, and its own bytes are saved when the provider is itself again."""
    assert wrong(tmp_path, seed) == []


def main() -> int:
    """Run the seeds from the first argument up to the second."""
    first, last = map(int, sys.argv[1:])
    failed = 0
    for seed in range(first, last):
        with tempfile.TemporaryDirectory(prefix="unknowns-") as folder:
            for sentence in wrong(Path(folder), seed):
                failed += 1
                sys.stdout.write(f"WRONG: {sentence}\n")
    sys.stdout.write(f"seeds {first} to {last}: {failed} wrong\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
