"""Killed at every step between the intent and the receipt, and started again: each id is billed once.

Every commit, request and answer of a clean run from the first intent on is an item of its own, and each second line that
changes anything else. The full campaign over every single step is a command: see `tests/acceptance/campaign.py`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.killpoints import (
    KILLED,
    WORLD,
    Point,
    assert_survived,
    discovered,
    run_killed,
    sample,
    wish,
)
from tests.support.mishaps import CREATE_MISHAPS, on_create
from tests.support.project import Project
from tests.support.simulator import Simulator, simulator

FIRST_INTENT, MIDDLE, RESUMED = 27, 65, 22
"""Steps of a run from nothing up to its intent and its download, and steps that any resumed run still has."""


@pytest.fixture(scope="module")
def harsh() -> Iterator[Simulator]:
    """One unforgiving simulator for all scenarios: each asks for something else."""
    with simulator(**WORLD, concurrency=50) as running:
        yield running


@pytest.fixture
def victim(harsh: Simulator, tmp_path: Path, request: pytest.FixtureRequest) -> Project:
    """A project with one wish that no other scenario has."""
    project = Project(tmp_path / "project", harsh.env())
    wish(project, request.node.name)
    return project


@pytest.mark.parametrize("point", sample(discovered()), ids=lambda point: point.name)
def test_a_kill_at_this_step_costs_nothing(victim: Project, harsh: Simulator, point: Point) -> None:
    """SIGKILL at one step: the next apply finishes, the id is billed once, the bytes are the provider's."""
    done = run_killed(victim, point.plan)
    assert done.code == KILLED, f"the step was not reached: {point.plan}\n{done}"
    assert_survived(victim, harsh)


@pytest.mark.parametrize("seed", range(6))
def test_kills_in_a_row_cost_nothing(victim: Project, harsh: Simulator, seed: int) -> None:
    """Killed at least twice in a row, up to four times, each time somewhere else.

    The first kill comes early enough to leave work; a resumed run has fewer steps, so the later ones come earlier.
    """
    draw = random.Random(seed)
    kills = 0
    for first, last in ((FIRST_INTENT, MIDDLE), *[(5, RESUMED)] * 3):
        if run_killed(victim, f"at={draw.randint(first, last)}").code != KILLED:
            break
        kills += 1
    assert kills >= 2, "too few kills to show anything"
    assert_survived(victim, harsh)


@pytest.mark.parametrize("mishap", ["lost", "late", "cut", "page-502-acted", "page-502"])
def test_a_kill_after_a_create_whose_answer_goes_wrong_costs_nothing(
    tmp_path: Path, mishap: str
) -> None:
    """The create has left as a whole, its answer will go wrong, and the program is killed before it comes."""
    with simulator(**WORLD) as sim:
        sim.faults([on_create(CREATE_MISHAPS[mishap])])
        project = Project(tmp_path / "project", sim.env())
        wish(project, mishap)
        assert run_killed(project, "after=send POST create#2").code == KILLED
        assert_survived(project, sim)


@pytest.mark.parametrize("mishap", ["lost", "late", "cut", "page-502-acted", "page-502"])
def test_kills_while_an_answer_is_in_doubt_cost_nothing(tmp_path: Path, mishap: str) -> None:
    """The answer goes wrong, and the program is killed at each of the next looks for the task."""
    with simulator(**WORLD) as sim:
        sim.faults([on_create(CREATE_MISHAPS[mishap])])
        project = Project(tmp_path / "project", sim.env())
        wish(project, mishap)
        assert run_killed(project, "after=send GET query#2").code == KILLED
        run_killed(project, "after=recv GET query#2")
        assert_survived(project, sim)
