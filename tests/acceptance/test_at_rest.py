"""A folder in which nothing is left to do is answered for without a file of it being opened, until anything changes."""

from __future__ import annotations

import sys
import time

from tests.support.project import Done, Project, picture, wait_until
from tests.support.simulator import Simulator


def command(project: Project, *arguments: str) -> Done:
    """Run a command that tells what it opened below the specs and among the media."""
    folders = f"{project.specs};{project.root / 'assets'}"
    line = [sys.executable, "-m", "tests.support.opened", folders, "--root", str(project.root)]
    return project.run(command=[*line, *arguments])


def rest(project: Project, *arguments: str) -> Done:
    """Run a command twice once every file is older than two seconds: then the second one opens nothing."""
    files = [path for path in project.root.rglob("*") if path.is_file()]
    changed = max(path.stat().st_ctime for path in files)
    wait_until(lambda: time.time() > changed + 2.1, "a folder that nobody changes")
    first, second = command(project, *arguments), command(project, *arguments)
    assert (first.code, second.code) == (0, 0), (first, second)
    assert "opened: []" in second.err
    assert second.out == first.out, "the quick answer is another one"
    return second


def test_plan_and_apply_say_the_same_of_a_folder_at_rest(project: Project, sim: Simulator) -> None:
    """They answer without opening a spec, a receipt or a picture, and word for word as after reading all of them."""
    picture(project.root / "assets/girl.png")
    project.spec(image_url="../assets/girl.png")
    project.spec("deep/wave.yaml", takes=2)
    assert project.apply().code == 0
    said = rest(project, "plan", "--detailed-exitcode")
    assert said.out == "Nothing to do: 3 generations are complete.\n"
    assert rest(project, "apply", "--yes").out == "Nothing to do: 3 complete.\n"
    assert rest(project, "plan").out == said.out


def test_whatever_ends_a_rest_is_seen_by_the_next_command(project: Project, sim: Simulator) -> None:
    """A new spec is bought, a lost video is put back, a lost receipt is written again, though all was at rest before."""
    project.spec()
    assert project.apply().code == 0
    rest(project, "apply", "--yes")
    video, receipt = project.specs / "dance.mp4", project.specs / "dance.receipt.json"
    for lost in (video, receipt):
        before = lost.read_bytes()
        lost.unlink()
        assert command(project, "apply", "--yes").code == 0
        assert lost.read_bytes() == before
    project.spec("wave.yaml", prompt="a wave")
    assert command(project, "plan", "--detailed-exitcode").code == 2
    assert command(project, "apply", "--yes").code == 0
    assert sim.requests()["create_attempts"] == 2


def test_a_plan_at_rest_is_not_enough_for_apply(project: Project, sim: Simulator) -> None:
    """A receipt that is missing is nothing to a plan; `apply` writes it, however often a plan found all complete."""
    project.spec()
    assert project.apply().code == 0
    receipt = project.specs / "dance.receipt.json"
    before = receipt.read_bytes()
    receipt.unlink()
    rest(project, "plan")
    assert command(project, "apply", "--yes").code == 0
    assert receipt.read_bytes() == before
