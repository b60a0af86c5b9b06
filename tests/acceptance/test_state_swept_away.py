"""The state goes, or changes, under a running program: it stops buying at once, says so, and nothing is paid twice."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reconciler.store.repository import Repository
from tests.support.killpoints import WORLD
from tests.support.money import assert_bought_once, assert_quiet, purchases
from tests.support.project import Done, Project, wait_until
from tests.support.simulator import SPEED, Simulator, simulator


@pytest.fixture
def sim() -> Iterator[Simulator]:
    """The least forgiving provider: it bills whatever is sent twice."""
    with simulator(**WORLD) as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path, sim: Simulator) -> Project:
    """A committed project whose specs settle quickly."""
    project = Project(tmp_path / "project", {**sim.env(), "RECONCILER_SETTLE_SECONDS": "0.2"})
    project.commit()
    return project


def _cleaned(project: Project) -> None:
    project.git("clean", "-fdxq", "-e", "specs")


def _removed(project: Project) -> None:
    shutil.rmtree(project.state)


def _moved(project: Project) -> None:
    project.state.rename(project.root / "state.old")


def _unlocked(project: Project) -> None:
    (project.state / "lock").unlink()


def _databaseless(project: Project) -> None:
    for path in project.state.glob("reconciler.db*"):
        path.unlink()


def _restored(project: Project) -> None:
    backup = project.root.parent / "backup.db"
    Repository.open(backup).close()
    for path in project.state.glob("reconciler.db-*"):
        path.unlink()
    backup.replace(project.state / "reconciler.db")


_HAPPENINGS = [_cleaned, _removed, _moved, _unlocked, _databaseless, _restored]


def _stopped(done: Done) -> None:
    assert done.code == 1, done
    assert "buys nothing more and stops" in done.err, done
    assert "Run again" in done.err
    assert "Traceback" not in done.err
    assert "mistake in reconciler" not in done.err


@pytest.mark.parametrize("happen", _HAPPENINGS)
def test_a_running_watch_stops_and_a_second_writer_buys_the_rest(
    folder: Project, sim: Simulator, happen: Callable[[Project], None]
) -> None:
    """Two of four are in flight when the state goes; more are wished for at that moment, and another apply begins."""
    sim.set_speed(1)
    for name in "ab":
        folder.spec(f"{name}.yaml", prompt=name)
    with folder.watching() as running:
        wait_until(lambda: running.err.read_text().count(" submitted ") == 2, "two tasks")
        time.sleep(WORLD["query_lag_s"])  # who remembers nothing finds only what is shown
        happen(folder)
        for name in "cd":
            folder.spec(f"{name}.yaml", prompt=name)
        sim.set_speed(SPEED)
        done = folder.apply()
        _stopped(running.ended(within=30))
    assert_bought_once(folder, sim, done)
    assert len(purchases(sim)) == 4
    assert_quiet(folder, sim)


def test_an_idle_watch_notices_too(folder: Project, sim: Simulator) -> None:
    """Nothing is to be done, and still it leaves within seconds: what supervises it begins anew."""
    folder.spec()
    with folder.watching() as running:
        wait_until(lambda: bool(folder.receipts()), "the video")
        shutil.rmtree(folder.state)
        _stopped(running.ended(within=15))
    with folder.watching() as running:
        running.process.kill()
    assert list(purchases(sim).values()) == [1]


def test_a_running_apply_stops_with_1(folder: Project, sim: Simulator) -> None:
    """One of many is in flight; the rest is bought by the next apply, each once."""
    sim.set_speed(1)
    for number in range(4):
        folder.spec(f"{number}.yaml", prompt=f"wish {number}")
    slow = {"RECONCILER_MAX_CONCURRENCY": "1"}
    with folder.running("apply", "--yes", "--json", env=slow) as running:
        wait_until(lambda: sim.requests()["create"] == 1, "one task")
        shutil.rmtree(folder.state)
        sim.set_speed(SPEED)
        done = running.ended(within=30)
    _stopped(done)
    assert done.document["error"]["hint"]
    assert_bought_once(folder, sim, folder.apply())
    assert len(purchases(sim)) == 4


def test_who_only_looks_is_not_disturbed(folder: Project, sim: Simulator) -> None:
    """`plan` and `status` answer before, while and after the state goes; they make none of their own."""
    folder.spec()
    assert folder.apply().code == 0
    shutil.rmtree(folder.state)
    assert folder.run("plan", "--json").document["summary"] == {"keep": 1}
    assert folder.status().code == 0
    assert not (folder.state / "reconciler.db").exists()
