"""The sweep: one wish, and `apply` killed before its N-th step, for every N. What is drawn at random is in `havoc`."""

from __future__ import annotations

import random
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.support.killpoints import KILLED, WORLD, assert_survived, record, run_killed, wish
from tests.support.mishaps import CREATE_MISHAPS, on_create
from tests.support.project import Project
from tests.support.simulator import simulator


@dataclass(frozen=True)
class Sweep:
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


def sweeps(*, every: int, only: int, kills: int, mishap: str, seed: int) -> tuple[int, list[Sweep]]:
    """Return the number of steps of a clean run, and the scenarios that these choices stand for."""
    with tempfile.TemporaryDirectory() as folder, simulator(**WORLD) as sim:
        project = Project(Path(folder) / "project", sim.env())
        wish(project, "campaign")
        steps = len(record(project))
    draw = random.Random(seed)
    mishaps = list(CREATE_MISHAPS) if mishap == "all" else [mishap]
    firsts = [only] if only else range(1, steps + 1, every)
    return steps, [
        Sweep((first, *(draw.randint(1, steps) for _ in range(kills - 1))), name)
        for name in mishaps
        for first in firsts
    ]
