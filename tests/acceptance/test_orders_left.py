"""A command that gave an order ends before anybody took it: the order ends with it, however that happens."""

from __future__ import annotations

import json
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from reconciler.store.lock import StateLock
from tests.support.project import Project, Running, wait_until
from tests.support.simulator import Simulator

QUICK = {"RECONCILER_SETTLE_SECONDS": "0.2", "RECONCILER_RESYNC_SECONDS": "2"}
ENDS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL]


@pytest.fixture
def folder(tmp_path: Path, sim: Simulator) -> Project:
    """A project with one generation that failed, and would not fail again."""
    project = Project(tmp_path / "project", {**sim.env(), **QUICK})
    sim.faults([{"endpoint": "create", "when": {"first": 1}, "effect": {"fail": "too dark"}}])
    project.spec()
    assert project.apply().code == 3
    return project


def inbox(project: Project) -> list[str]:
    """The orders that wait or were taken, and are not answered."""
    return [
        document
        for (document,) in in_the_state(
            project, "SELECT document FROM given_order WHERE answer IS NULL"
        )
    ]


def in_the_state(project: Project, statement: str, *values: str) -> list[tuple[str, ...]]:
    """Ask the database of the state, or change it, as another program would."""
    with closing(sqlite3.connect(project.state / "reconciler.db")) as connection, connection:
        return connection.execute(statement, values).fetchall()


def leave_one(project: Project, how: signal.Signals, *arguments: str) -> None:
    """Give an order while somebody holds the lock who takes none, as `apply` does; end the command in this way."""
    with StateLock(project.state), project.running(*arguments, "--yes") as running:
        wait_until(lambda: inbox(project), "the order")
        running.interrupt(how)
        done = running.ended(60)
    assert done.code == (-how if how == signal.SIGKILL else 130), done
    assert "Traceback" not in done.err


@contextmanager
def asking(project: Project) -> Iterator[Running]:
    """Give an order that a daemon takes and dies with: while the block lasts its command waits, and nobody has the lock."""
    with ExitStack() as stack:
        with StateLock(project.state):
            running = stack.enter_context(project.running("retry", "specs/dance.yaml", "--yes"))
            wait_until(lambda: inbox(project), "the order")
            in_the_state(project, "UPDATE given_order SET asked = 1")
        yield running


def base_of(project: Project) -> str:
    (row,) = project.status().document["generations"]
    return str(row["external_task_id"]).removesuffix("-r2")


def settled(project: Project) -> str:
    """Run a `watch` over what was left until it has bought something else; return what it said."""
    with project.watching() as running:
        project.spec("barrier.yaml", prompt="barrier")
        wait_until(lambda: "specs/barrier.receipt.json" in project.receipts(), "the next purchase")
        return running.err.read_text()


@pytest.mark.parametrize("how", ENDS, ids=lambda how: how.name)
def test_a_retry_that_nobody_waits_for_is_never_bought(
    folder: Project, sim: Simulator, how: signal.Signals
) -> None:
    """Ctrl-C, a kill, a closed terminal: withdrawn at once. `kill -9`: dropped by the next `watch`, which says so."""
    leave_one(folder, how, "retry", "specs/dance.yaml")
    assert len(inbox(folder)) == (how == signal.SIGKILL)
    said = settled(folder)
    assert ("is dropped: the command that gave it has ended" in said) == (how == signal.SIGKILL)
    assert not inbox(folder)
    assert sim.requests()["create_attempts"] == 2


def test_a_forget_that_was_left_strikes_no_purchase(folder: Project, sim: Simulator) -> None:
    """It was meant for a failure; tried again since and bought, the generation stays."""
    name = base_of(folder)
    leave_one(folder, signal.SIGKILL, "forget", name)
    assert folder.run("retry", name, "--yes").code == 0
    assert "is dropped" in settled(folder)
    assert folder.status().statuses[f"{name}-r2"] == "complete"
    listed = folder.receipts()["specs/dance.receipt.json"]
    assert [entry["status"] for entry in listed] == ["failed", "complete"]


def test_a_prune_that_was_left_removes_nothing(folder: Project, sim: Simulator) -> None:
    """The next `watch` leaves the file where it is."""
    folder.run("retry", "specs/dance.yaml", "--yes")
    (folder.specs / "dance.yaml").unlink()
    leave_one(folder, signal.SIGKILL, "prune")
    assert "is dropped" in settled(folder)
    assert "specs/dance.mp4" in folder.videos()


def test_an_order_that_was_taken_and_not_answered_is_carried_out_while_somebody_waits(
    folder: Project, sim: Simulator
) -> None:
    """The daemon died with it in hand: the next one sees to it, and the command has its answer."""
    with asking(folder) as running, folder.watching():
        done = running.ended(30)
        wait_until(folder.videos, "the video")
    assert (done.code, "attempt 2 is wanted" in done.out) == (0, True), done
    assert sim.requests()["create_attempts"] == 2


def test_an_order_that_was_taken_is_dropped_when_nobody_waits_any_more(
    folder: Project, sim: Simulator
) -> None:
    """The daemon died with it in hand, and the command after it."""
    with asking(folder) as running:
        running.interrupt(signal.SIGHUP)
        assert running.ended(60).code == 130
    assert "is dropped" in settled(folder)
    assert sim.requests()["create_attempts"] == 2


@pytest.mark.parametrize(
    ("shift", "word"), [(-3600, "too late"), (3600, "set back")], ids=["late", "early"]
)
def test_an_order_whose_time_is_over_is_dropped_though_its_command_lives(
    folder: Project, sim: Simulator, shift: int, word: str
) -> None:
    """A machine was asleep, or its clock was set: the command waits still, and hears that nothing was done."""
    with asking(folder) as running:
        document = json.loads(*inbox(folder))
        moved = {key: document[key] + shift * 1000 for key in ("given", "until")}
        in_the_state(folder, "UPDATE given_order SET document = ?", json.dumps(document | moved))
        with folder.watching() as watch:
            done = running.ended(30)
            watch.wait_for("is dropped")
    assert (done.code, word in done.out) == (1, True), done
    assert sim.requests()["create_attempts"] == 1
