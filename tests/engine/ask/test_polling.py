"""Observing many tasks: requests grow with pages, and nobody is forgotten."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.core.progress import Ended
from reconciler.core.states import Status
from tests.engine.world import World, world
from tests.support.simulator import simulator

MANY = 30


def all_in_flight(project: World) -> bool:
    records = project.repository.records().values()
    return sum(record.task_id is not None for record in records) == MANY


@pytest.mark.parametrize("order", ["newest", "oldest"])
def test_many_tasks_in_flight_are_observed_by_the_list(tmp_path: Path, order: str) -> None:
    """30 tasks end while a run waits for them: pages are read instead of one query per task and round, in
    whatever order the list comes."""
    root = tmp_path / "project"
    root.mkdir()
    with (
        simulator(tmp_path / "simulator", concurrency=MANY, list_order=order) as sim,
        world(root, sim) as project,
    ):
        for number in range(MANY):
            project.write(f"{number}.yaml", prompt=f"wish {number}")
        sim.set_speed(0)
        project.apply(until=all_in_flight, concurrency=MANY)
        before = sim.requests()
        sim.set_speed(600)
        assert project.apply(concurrency=MANY) is Ended.SETTLED
        assert {item.status for item in project.plan().assessments} == {Status.COMPLETE}
        after = sim.requests()
    asked_for_urls = MANY  # a fresh URL for every download
    # Five at most are asked for by query (ADR 7), in some rounds, more on a busy machine; all of them would be 30 in each.
    last_few = 8 * 5
    assert after["query"] - before["query"] <= asked_for_urls + last_few, "asked one by one"
    assert after["list"] > before["list"]


def test_a_task_that_the_list_does_not_show_is_asked_for_by_itself(tmp_path: Path) -> None:
    """The list may lag or be cut: what it does not show is not lost."""
    root = tmp_path / "project"
    root.mkdir()
    with simulator(tmp_path / "simulator", concurrency=MANY) as sim, world(root, sim) as project:
        for number in range(8):
            project.write(f"{number}.yaml", prompt=f"wish {number}")
        empty = '{"code":0,"message":"SUCCEED","request_id":"r","data":[]}'
        sim.faults([{"endpoint": "list", "effect": {"status": 200, "body": empty}}])
        assert project.apply(concurrency=MANY) is Ended.SETTLED
        assert {item.status for item in project.plan().assessments} == {Status.COMPLETE}
        assert list(sim.billed().values()) == [1] * 8


@pytest.mark.parametrize(
    "effect", [{"status": 502}, {"drop": "before"}, {"garbage": True}, {"refuse": 1302}]
)
def test_a_poll_that_is_not_answered_fails_nothing(
    tmp_path: Path, effect: dict[str, object]
) -> None:
    """Rule 5: the list stumbles for a while, and the tasks are waited for all the same."""
    root = tmp_path / "project"
    root.mkdir()
    with simulator(tmp_path / "simulator", concurrency=MANY) as sim, world(root, sim) as project:
        for number in range(8):
            project.write(f"{number}.yaml", prompt=f"wish {number}")
        sim.faults([{"endpoint": "list", "when": {"first": 4}, "effect": effect}])
        assert project.apply(concurrency=MANY) is Ended.SETTLED
        assert {item.status for item in project.plan().assessments} == {Status.COMPLETE}


def test_what_a_cash_account_paid_is_in_the_history(tmp_path: Path) -> None:
    """Beside the units, in the line of the moment when it was seen."""
    root = tmp_path / "project"
    root.mkdir()
    with (
        simulator(tmp_path / "simulator", balance_deduction="shown") as sim,
        world(root, sim) as project,
    ):
        project.write("dance.yaml")
        assert project.apply() is Ended.SETTLED
        (record,) = project.repository.records().values()
        lines = [entry.detail for entry in project.repository.history(record.base_id)]
        assert sum("0.35 was deducted from the account's balance" in line for line in lines) == 1
