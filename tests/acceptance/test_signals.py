"""Two at once, signals, time-outs: who may write, and that leaving early loses and repeats nothing."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.money import assert_bought_once, assert_quiet
from tests.support.project import Project, wait_until
from tests.support.simulator import SPEED, Simulator, simulator


@pytest.fixture
def slow() -> Iterator[Simulator]:
    """A simulator whose tasks take long, until its speed is raised."""
    with simulator(speed=1.0) as running:
        yield running


@pytest.fixture
def project(tmp_path: Path, slow: Simulator) -> Project:
    """A project whose one wish will be under way for two minutes."""
    project = Project(tmp_path / "project", slow.env())
    project.spec()
    return project


def test_a_second_apply_names_the_first_one(project: Project, slow: Simulator) -> None:
    """While one apply runs, another exits 1 and names its pid; plan and status still answer."""
    with project.running("apply", "--yes", "--json") as first:
        wait_until(lambda: slow.requests()["create"], "the first create")
        second = project.apply()
        assert second.code == 1
        assert str(first.process.pid) in second.err
        assert "Traceback" not in second.err
        assert str(first.process.pid) in second.document["error"]["message"]
        assert set(project.status().statuses.values()) <= {"submitting", "submitted", "processing"}
        assert project.run("plan").code == 0
        slow.set_speed(SPEED)
        assert_bought_once(project, slow, first.ended())


def test_two_that_start_together_buy_once(project: Project, slow: Simulator) -> None:
    """Two applies in the same moment: one works, the other is told so, and the id is billed once."""
    slow.set_speed(SPEED)
    with project.running("apply", "--yes", "--json") as first:
        second = project.apply()
        codes = {first.ended().code, second.code}
    assert codes <= {0, 1}
    assert_bought_once(project, slow, project.apply())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
@pytest.mark.parametrize("moment", ["the create is under way", "the task runs"])
def test_a_signal_ends_in_seconds_and_costs_nothing(
    project: Project, slow: Simulator, number: signal.Signals, moment: str
) -> None:
    """Exit 130 within seconds, no traceback; a later apply finishes what was in flight, billed once."""
    if moment == "the create is under way":
        slow.faults([{"endpoint": "create", "when": {"first": 1}, "effect": {"delay_s": 5}}])
    patient = {"RECONCILER_REQUEST_TIMEOUT": "30"}
    with project.running("apply", "--yes", "--json", env=patient) as running:
        wait_until(lambda: slow.requests()["create"], "the create")
        if moment == "the task runs":
            wait_until(lambda: "submitted" in running.err.read_text(), "the answer")
        began = time.monotonic()
        running.interrupt(number)
        done = running.ended(10)
    assert done.code == 130, done
    assert time.monotonic() - began < 6
    assert "Traceback" not in done.err
    slow.set_speed(SPEED)
    assert_bought_once(project, slow, project.apply())
    assert_quiet(project, slow)


def test_two_signals_end_at_once_and_cost_nothing(project: Project, slow: Simulator) -> None:
    """A second Ctrl-C does not wait for anything: no traceback, and still nothing is billed twice."""
    slow.faults([{"endpoint": "create", "when": {"first": 1}, "effect": {"delay_s": 5}}])
    with project.running("apply", "--yes", env={"RECONCILER_REQUEST_TIMEOUT": "30"}) as running:
        wait_until(lambda: slow.requests()["create"], "the create")
        running.interrupt(signal.SIGINT)
        wait_until(lambda: "stopping" in running.err.read_text(), "the first one's sentence")
        running.interrupt(signal.SIGINT)
        done = running.ended(5)
    assert "Traceback" not in done.err
    assert done.code in {130, -signal.SIGINT}
    slow.set_speed(SPEED)
    assert_bought_once(project, slow, project.apply())


def test_a_timeout_leaves_with_4(project: Project, slow: Simulator) -> None:
    """`--timeout 0.5`: exit 4 soon after, the task on record, and a later apply finishes it."""
    began = time.monotonic()
    done = project.apply("--timeout", "0.5")
    assert done.code == 4, done
    assert time.monotonic() - began < 15  # a loaded machine takes seconds to start a program
    slow.set_speed(SPEED)
    assert_bought_once(project, slow, project.apply())


def test_a_timeout_of_nothing_buys_nothing(project: Project, slow: Simulator) -> None:
    """`--timeout 0` leaves before anything is sent."""
    assert project.apply("--timeout", "0").code == 4
    assert slow.requests()["create_attempts"] == 0
