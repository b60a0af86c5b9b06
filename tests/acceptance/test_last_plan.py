"""A plan of a folder in which nothing changed opens no file of it, and says word for word what a full plan says."""

from __future__ import annotations

import sys
import time

from tests.support.project import Done, Project, picture, wait_until
from tests.support.simulator import Simulator


def plan(project: Project, *arguments: str) -> Done:
    """Run a plan that tells what it opened below the specs and among the media."""
    folders = f"{project.specs};{project.root / 'assets'}"
    line = [sys.executable, "-m", "tests.support.opened", folders, "--root", str(project.root)]
    return project.run(command=[*line, "plan", "--detailed-exitcode", *arguments])


def grow_old(project: Project) -> None:
    """Wait until nothing has changed for two seconds."""
    files = [path for path in project.root.rglob("*") if path.is_file()]
    changed = max(path.stat().st_ctime for path in files)
    wait_until(lambda: time.time() > changed + 2.1, "a folder that nobody changes")


def test_a_plan_is_repeated_word_for_word(project: Project, sim: Simulator) -> None:
    """It opens no spec, receipt or picture, and says on both streams what a plan that reads all of them says."""
    picture(project.root / "assets/girl.png")
    project.spec(image_url="../assets/girl.png")
    project.spec("deep/wave.yaml", takes=2)
    assert project.apply().code == 0
    grow_old(project)
    (project.state / "cache.db").unlink()
    full, repeated = plan(project), plan(project)
    assert "specs/dance.yaml" in full.err
    assert repeated.err.splitlines()[-1] == "opened: []"
    assert (repeated.code, repeated.out) == (full.code, full.out)
    assert repeated.err.splitlines()[:-1] == full.err.splitlines()[:-1]
    assert full.out == "Nothing to do: 3 generations are complete.\n"


def test_whatever_changes_is_seen_by_the_next_plan(project: Project, sim: Simulator) -> None:
    """A lost video, a new spec, a look with `--json` or at a path: no memory of an earlier plan is in the way."""
    project.spec()
    assert project.apply().code == 0
    grow_old(project)
    plan(project)
    assert plan(project).err.endswith("opened: []\n")
    assert '"keep"' in plan(project, "--json").out
    (project.specs / "dance.mp4").unlink()
    assert "publish" in plan(project).out
    assert project.apply().code == 0
    project.spec("wave.yaml", prompt="a wave")
    assert plan(project).code == 2
    assert project.apply().code == 0
    assert sim.requests()["create_attempts"] == 2
