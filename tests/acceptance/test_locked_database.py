"""Another program holds the database at the worst moments: a sentence or patience, and nothing is bought twice.

The other program is this test: a process that is not the one under test, with a transaction of its own. The moments
are exact, because the program's system calls wait for the test's answer (`tests/support/warden.py`).
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from tests.support.killpoints import WORLD
from tests.support.money import assert_bought_once, assert_quiet
from tests.support.project import Done, Project, wait_until
from tests.support.simulator import Simulator, simulator
from tests.support.warden import Call, warden

SHORTLY = 1.0
"""Seconds: less than the program waits for another writer."""


@pytest.fixture
def sim() -> Iterator[Simulator]:
    """The least forgiving provider: it bills whatever is sent twice."""
    with simulator(**WORLD) as running:
        yield running


class Holder:
    """Somebody else who writes; as a warden's policy, from the first moment on for which `begins` says so."""

    def __init__(self, project: Project, begins: Callable[[Call], bool]) -> None:
        self.holds = False
        self._begins = begins
        self._path = project.state / "reconciler.db"
        self._connection: sqlite3.Connection | None = None

    def __call__(self, call: Call) -> None:
        """Take the database when it is time."""
        if self._connection is None and self._begins(call):
            self.take()

    def take(self) -> None:
        """Take the write lock, as soon as nobody has it."""
        self._connection = sqlite3.connect(
            self._path, isolation_level=None, timeout=10, check_same_thread=False
        )
        self._connection.execute("BEGIN IMMEDIATE")
        self.holds = True

    def release(self) -> None:
        """Let others write."""
        assert self._connection is not None, "the moment never came"
        self._connection.rollback()
        self._connection.close()
        self.holds = False


def looked(sim: Simulator) -> Callable[[Call], bool]:
    """Return the moment between the answered look and the intent."""
    return lambda call: call.is_network and sim.requests()["query"] == 1


def created(sim: Simulator) -> Callable[[Call], bool]:
    """Return the moment when the create has acted, and its answer is about to be read."""
    return lambda call: call.is_network and sim.requests()["create"] == 1


MOMENTS = {"before the intent": looked, "before the create's answer": created}


def assert_told(done: Done) -> None:
    """Exit 1 with a sentence that says who is in the way."""
    assert done.code == 1, done
    assert "Another program holds" in done.err, done
    assert "Traceback" not in done.err, done


def test_held_at_the_start_is_said_and_nothing_is_sent(project: Project, sim: Simulator) -> None:
    """Somebody lets nobody even read: `apply` and `watch` exit 1 after a wait; released, it is bought once."""
    project.spec(prompt="first")
    assert_bought_once(project, sim, project.apply())
    project.spec(prompt="second")
    with closing(sqlite3.connect(project.state / "reconciler.db", isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        assert_told(project.apply())
        assert_told(project.run("watch", "--no-http"))
        assert sim.requests()["create_attempts"] == 1
    assert_bought_once(project, sim, project.apply())
    assert_quiet(project, sim)


def test_held_for_a_moment_is_waited_for(project: Project, sim: Simulator) -> None:
    """Released within the time that the program waits: nothing is said, and one create was sent."""
    project.spec()
    holder = Holder(project, created(sim))
    with (
        warden(holder) as guard,
        project.running("apply", "--yes", "--json", wrap=guard.command) as running,
    ):
        wait_until(lambda: holder.holds, "the create's answer")
        time.sleep(SHORTLY)  # the wait is the point
        holder.release()
        done = running.ended()
    assert_bought_once(project, sim, done)
    assert "Another program" not in done.err, done
    assert sim.requests()["create_attempts"] == 1


@pytest.mark.parametrize(
    ("moment", "sent"), [("before the intent", 0), ("before the create's answer", 1)]
)
def test_held_for_long_ends_apply_and_costs_nothing(
    project: Project, sim: Simulator, moment: str, sent: int
) -> None:
    """Never released: exit 1 and a sentence; what was sent is found by the next run, and billed once."""
    project.spec()
    holder = Holder(project, MOMENTS[moment](sim))
    with warden(holder) as guard:
        done = project.run(command=guard.command(project.command("apply", "--yes", "--json")))
    holder.release()
    assert_told(done)
    assert sim.requests()["create_attempts"] == sent
    assert_bought_once(project, sim, project.apply())
    assert sim.requests()["create_attempts"] == 1
    assert_quiet(project, sim)


def test_held_for_long_is_ridden_out_by_watch(project: Project, sim: Simulator) -> None:
    """It says so and lives; released, and a file touched so that nobody waits for a back-off, it is bought once."""
    quick = {"RECONCILER_SETTLE_SECONDS": "0.2", "RECONCILER_RESYNC_SECONDS": "2"}
    spec = project.spec()
    holder = Holder(project, created(sim))
    with (
        warden(holder) as guard,
        project.running("watch", "--no-http", env=quick, wrap=guard.command) as running,
    ):
        running.wait_for("Another program holds")
        holder.release()
        spec.touch()
        wait_until(project.receipts, "the video", within=30)
        running.process.terminate()
        done = running.ended(within=10)
    assert done.code == 0, done
    assert "Traceback" not in done.err, done
    assert_bought_once(project, sim, project.status())
    assert sim.requests()["create_attempts"] == 1
