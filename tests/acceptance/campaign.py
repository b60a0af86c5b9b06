"""The full campaign: kill `apply` at every single step, start it again, and count what was billed.

    python -m tests.acceptance.campaign                      # every step, nothing else wrong
    python -m tests.acceptance.campaign --every 5            # every fifth step
    python -m tests.acceptance.campaign --mishap lost        # the answer to the create goes wrong too
    python -m tests.acceptance.campaign --mishap all         # every mishap in turn (hours)
    python -m tests.acceptance.campaign --kills 3 --seed 7   # three kills in a row per scenario

A step is a call into C that changes something outside the process (`tests/support/killer.py`). A scenario is a fresh
project and a kill before its N-th step; then one apply has to finish, every id has to be billed once, the bytes have
to be the provider's, and a further apply has to be quiet. Exit 1 when a scenario breaks; its N is printed, and
`--only N` repeats it. The number of steps varies with how often a task is asked for, so the last ones may not
be reached: such scenarios are counted apart, never as held. CI runs the distinct steps only: `tests/acceptance/test_kill.py`.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.support.killpoints import KILLED, WORLD, assert_survived, record, run_killed, wish
from tests.support.mishaps import CREATE_MISHAPS, on_create
from tests.support.project import Project
from tests.support.simulator import simulator


@dataclass(frozen=True)
class Scenario:
    """Where the program is killed, one run after the other, and what happens to its create."""

    kills: tuple[int, ...]
    mishap: str = ""

    def play(self) -> tuple[int, str]:
        """Return how many kills were reached, and what went wrong (empty for nothing)."""
        reached = 0
        with tempfile.TemporaryDirectory() as folder, simulator(**WORLD) as sim:
            project = Project(Path(folder) / "project", sim.env())
            wish(project, "campaign")
            if self.mishap:
                sim.faults([on_create(CREATE_MISHAPS[self.mishap])])
            for number in self.kills:
                if run_killed(project, f"at={number}").code != KILLED:
                    break
                reached += 1
            try:
                assert_survived(project, sim)
            except AssertionError as error:
                return reached, str(error)
        return reached, ""


def scenarios(chosen: argparse.Namespace, steps: int) -> list[Scenario]:
    """Return what the arguments ask for."""
    draw = random.Random(chosen.seed)
    mishaps = list(CREATE_MISHAPS) if chosen.mishap == "all" else [chosen.mishap]
    firsts = [chosen.only] if chosen.only else range(1, steps + 1, chosen.every)
    return [
        Scenario((first, *(draw.randint(1, steps) for _ in range(chosen.kills - 1))), mishap)
        for mishap in mishaps
        for first in firsts
    ]


def main(arguments: Sequence[str]) -> int:
    """Run the campaign; returns the exit code."""
    parser = argparse.ArgumentParser(description="Kill apply at every step.")
    parser.add_argument("--every", type=int, default=1, help="only every K-th step")
    parser.add_argument("--only", type=int, default=0, help="only this step")
    parser.add_argument("--kills", type=int, default=1, help="kills in a row")
    parser.add_argument("--mishap", default="", choices=["", "all", *CREATE_MISHAPS])
    parser.add_argument("--seed", type=int, default=0, help="of the kills after the first")
    parser.add_argument("--jobs", type=int, default=2, help="scenarios at a time")
    chosen = parser.parse_args(arguments)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, simulator(**WORLD) as sim:
        project = Project(Path(folder) / "project", sim.env())
        wish(project, "campaign")
        steps = record(project)
    planned = scenarios(chosen, len(steps))
    sys.stdout.write(f"{len(steps)} steps in a clean run, {len(planned)} scenarios\n")
    broken = missed = 0
    with ThreadPoolExecutor(chosen.jobs) as pool:
        for scenario, (reached, trouble) in zip(
            planned, pool.map(Scenario.play, planned), strict=True
        ):
            if trouble:
                broken += 1
                sys.stdout.write(f"BROKEN {scenario}\n{trouble}\n")
            elif not reached:
                missed += 1
    took = time.monotonic() - began
    sys.stdout.write(
        f"{len(planned) - broken - missed} held, {broken} broken, {missed} not reached, {took:.0f} s\n"
    )
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
