"""The disk fills up at every place where that could cost something: a sentence, and nothing is bought twice.

Full means that the system calls fail, of SQLite as of Python: see `tests/support/fulldisk.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.support.fulldisk import FullDisk
from tests.support.killpoints import WORLD
from tests.support.money import assert_bought_once, assert_quiet
from tests.support.project import Project, wait_until
from tests.support.simulator import Simulator, simulator
from tests.support.warden import Call, warden

Moment = Callable[[Call, Project, Simulator], bool]


@pytest.fixture
def sim() -> Iterator[Simulator]:
    """The least forgiving provider: it bills whatever is sent twice."""
    with simulator(**WORLD) as running:
        yield running


@dataclass(frozen=True)
class Shortage:
    """Where the disk is full from when on, and what is to come of it."""

    reason: str
    moment: Moment
    code: int
    word: str
    """In the sentence."""
    created: int
    fetched: int
    folder: str = "."
    """What is full, relative to the root; the rest then has room."""


def _writes_log(call: Call) -> bool:
    return call.name == "pwrite64" and call.path.name == "reconciler.db-wal"


def _at_start(call: Call, project: Project, sim: Simulator) -> bool:
    return True


def _intent(call: Call, project: Project, sim: Simulator) -> bool:
    return _writes_log(call) and sim.requests()["query"] == 4


def _answer(call: Call, project: Project, sim: Simulator) -> bool:
    return _writes_log(call) and sim.requests()["create"] == 1


def _download(call: Call, project: Project, sim: Simulator) -> bool:
    return call.name == "write" and call.path.parent.name == "partial"


def _saved(call: Call, project: Project, sim: Simulator) -> bool:
    return _writes_log(call) and any(project.state.glob("objects/??/*"))


def _object(call: Call, project: Project, sim: Simulator) -> bool:
    return call.name == "mkdir" and call.path.parent.name == "objects" and len(call.path.name) == 2


def _publishing(call: Call, project: Project, sim: Simulator) -> bool:
    return call.name == "openat" and call.path.parent == project.specs


def _receipt(call: Call, project: Project, sim: Simulator) -> bool:
    return _publishing(call, project, sim) and (project.specs / "dance.mp4").exists()


SHORTAGES = [
    Shortage("before there is a state", _at_start, 1, "Free some space", 0, 0),
    Shortage("the intent", _intent, 1, "cannot grow", 0, 0),
    Shortage("the create was answered", _answer, 1, "cannot grow", 1, 0),
    Shortage("the download", _download, 1, "space", 1, 1),
    Shortage("the download alone", _download, 3, "space", 1, 1, "state/objects"),
    Shortage("the object", _object, 3, "space", 1, 1, "state/objects"),
    Shortage("the record of the object", _saved, 1, "cannot grow", 1, 1),
    Shortage("the output", _publishing, 1, "disk is full", 1, 1),
    Shortage("the output alone", _publishing, 3, "disk is full", 1, 1, "specs"),
    Shortage("the receipt", _receipt, 1, "disk is full", 1, 1),
    Shortage("the receipt alone", _receipt, 3, "disk is full", 1, 1, "specs"),
]


@pytest.mark.parametrize("shortage", SHORTAGES, ids=lambda shortage: shortage.reason)
def test_a_disk_that_fills_up_costs_nothing(
    project: Project, sim: Simulator, shortage: Shortage
) -> None:
    """A short sentence and the right code; what was sent is known; with room again one run completes, billed once."""
    project.spec()
    disk = FullDisk(
        project.root / shortage.folder, lambda call: shortage.moment(call, project, sim)
    )
    with warden(disk) as guard:
        done = project.run(command=guard.command(project.command("apply", "--yes", "--json")))
    assert disk.refused, done
    assert done.code == shortage.code, done
    assert shortage.word in done.err, done
    assert "Traceback" not in done.err, done
    assert "mistake in reconciler" not in done.err, done
    asked = sim.requests()
    assert (asked["create_attempts"], asked["result"]) == (shortage.created, shortage.fetched)
    assert_bought_once(project, sim, project.apply())
    assert sim.requests()["create_attempts"] == 1
    assert_quiet(project, sim)


@pytest.mark.parametrize("moment", [_answer, _publishing])
def test_a_watch_on_a_full_disk_goes_on_when_there_is_room(
    project: Project, sim: Simulator, moment: Moment
) -> None:
    """It says so and lives; with room, and a file touched so that nobody waits for a back-off, it is bought once."""
    quick = {"RECONCILER_SETTLE_SECONDS": "0.2", "RECONCILER_RESYNC_SECONDS": "2"}
    spec = project.spec()
    disk = FullDisk(project.root, lambda call: moment(call, project, sim))
    with (
        warden(disk) as guard,
        project.running("watch", "--no-http", env=quick, wrap=guard.command) as running,
    ):
        running.wait_for("cannot grow")
        disk.free()
        spec.touch()
        wait_until(project.receipts, "the video", within=30)
        # A signal would break off a call that the warden holds, and the receipt is landing still.
        wait_until(lambda: set(project.status().statuses.values()) == {"complete"}, "its end")
        running.process.terminate()
        done = running.ended(within=10)
    assert done.code == 0, done
    assert "Traceback" not in done.err, done
    assert_bought_once(project, sim, project.status())
    assert sim.requests()["create_attempts"] == 1


def test_a_log_that_cannot_grow_stops_nothing(project: Project, sim: Simulator) -> None:
    """The disk of the log file is full: the daemon buys, saves and publishes as if it were not."""
    log = project.state / "watch.log"
    quick = {"RECONCILER_SETTLE_SECONDS": "0.2", "RECONCILER_LOG_FILE": str(log)}
    project.spec()
    disk = FullDisk(log, lambda call: call.name == "write")
    with (
        warden(disk) as guard,
        project.running("watch", "--no-http", env=quick, wrap=guard.command) as running,
    ):
        wait_until(project.receipts, "the video", within=30)
        # A signal would break off a call that the warden holds, and the receipt is landing still.
        wait_until(lambda: set(project.status().statuses.values()) == {"complete"}, "its end")
        running.process.terminate()
        done = running.ended(within=10)
    assert disk.refused
    assert done.code == 0, done
    assert "Traceback" not in done.err, done
    assert_bought_once(project, sim, project.status())
