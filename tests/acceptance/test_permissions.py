"""Files and folders that may not be read or written: each stops its own generation, and nothing that is paid for."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.support.modest import modestly
from tests.support.money import assert_bought_once
from tests.support.project import Done, Project, wait_until
from tests.support.simulator import Simulator, simulator


@pytest.fixture
def sim() -> Iterator[Simulator]:
    with simulator() as running:
        yield running


@pytest.fixture
def project(tmp_path: object, sim: Simulator) -> Project:
    return Project(tmp_path / "project", sim.env())  # type: ignore[operator]


def run(project: Project, *arguments: str) -> Done:
    """Run a command as somebody whom permissions concern."""
    return project.run(command=modestly(project.command(*arguments)))


def test_an_output_that_cannot_be_read_blocks_its_own_generation(
    project: Project, sim: Simulator
) -> None:
    """Every command goes on, names the file and the way out, and the other specs are bought."""
    project.spec("a.yaml", prompt="a")
    project.spec("b.yaml", prompt="b")
    secret = project.write("specs/b.mp4", "of somebody else")
    secret.chmod(0o000)
    for command, code in (("plan", 0), ("status", 0), ("validate", 0), ("apply", 3)):
        done = run(project, command, *(["--yes"] if command == "apply" else []), "--json")
        assert done.code == code, done
        assert "Traceback" not in done.err
    rows = {row["spec"]: row for row in run(project, "status", "--json").document["generations"]}
    assert rows["specs/a.yaml"]["status"] == "complete"
    assert rows["specs/b.yaml"]["status"] == "blocked"
    assert "`specs/b.mp4`" in rows["specs/b.yaml"]["reason"].replace(f"{project.root}/", "")
    assert "permission is denied" in rows["specs/b.yaml"]["reason"]
    assert len(sim.billed()) == 1
    secret.unlink()
    assert_bought_once(project, sim, project.apply())


def test_a_result_of_ours_that_cannot_be_read_any_more_costs_nothing(
    project: Project, sim: Simulator
) -> None:
    """It is complete, its file is locked away: said, never bought again, and well when it can be read."""
    project.spec("a.yaml", prompt="a")
    project.spec("b.yaml", prompt="b")
    assert project.apply().code == 0
    (project.specs / "a.mp4").chmod(0o000)
    done = run(project, "apply", "--yes", "--json")
    assert (done.code, len(sim.billed())) == (3, 2), done
    assert sorted(done.statuses.values()) == ["blocked", "complete"]
    (project.specs / "a.mp4").chmod(0o644)
    assert run(project, "apply", "--yes", "--json").code == 0
    assert sorted(sim.billed().values()) == [1, 1]


def test_a_watch_goes_on_with_what_is_paid_while_an_output_cannot_be_read(
    project: Project, sim: Simulator
) -> None:
    """The task is in flight when somebody locks another output away: its video comes home all the same."""
    sim.set_speed(0)
    project.spec("a.yaml", prompt="a")
    with project.running("watch", "--no-http", wrap=modestly) as running:
        wait_until(lambda: len(sim.billed()) == 1, "the create")
        secret = project.write("specs/b.mp4", "of somebody else")
        secret.chmod(0o000)
        project.spec("b.yaml", prompt="b")
        running.wait_for("permission is denied")
        sim.set_speed(100)
        wait_until((project.specs / "a.mp4").exists, "the video")
        running.interrupt(signal.SIGTERM)
        assert "Traceback" not in running.ended(within=30).err
    assert len(sim.billed()) == 1


@pytest.mark.parametrize("folder", ["specs/far", "state/objects"])
def test_where_nothing_can_be_put_nothing_is_bought(
    project: Project, sim: Simulator, folder: str
) -> None:
    """A result is not paid for before there is a place for it; the other folders' specs are bought."""
    project.spec("near.yaml", prompt="near")
    assert project.apply().code == 0
    project.spec("far/one.yaml", prompt="far")
    (project.root / folder).chmod(0o555)
    try:
        done = run(project, "apply", "--yes", "--json")
        assert (done.code, len(sim.billed())) == (3, 1), done
        (reason,) = [row["reason"] for row in done.document["generations"] if row["reason"]]
        assert folder in reason
        assert "cannot be written" in reason
    finally:
        (project.root / folder).chmod(0o755)
    assert_bought_once(project, sim, project.apply())


def test_a_watch_waits_for_a_folder_that_can_be_written(project: Project, sim: Simulator) -> None:
    """It says why, buys nothing, and goes on by itself when the folder is well."""
    project.spec("far/one.yaml", prompt="far")
    (project.specs / "far").chmod(0o555)
    with project.running(
        "watch", "--no-http", wrap=modestly, env={"RECONCILER_RESYNC_SECONDS": "1"}
    ) as running:
        running.wait_for("cannot be written")
        assert sim.billed() == {}
        (project.specs / "far").chmod(0o755)
        wait_until((project.specs / "far/one.mp4").exists, "the video")
        running.interrupt(signal.SIGTERM)
        running.ended(within=30)
    assert list(sim.billed().values()) == [1]
