"""What is not bought without being asked: ignored files, copies that programs make, and what cannot be understood."""

from __future__ import annotations

import os

from reconciler.core.diff import Action
from reconciler.core.progress import Ended
from reconciler.core.states import Status
from reconciler.workspace.git import Checkout
from reconciler.workspace.tree.ignoring import IGNORE_FILE
from tests.engine.watching import watching
from tests.engine.world import World
from tests.support.project import Project, wait_until
from tests.support.simulator import Simulator


def films(project: World) -> set[str]:
    return {path.name for path in (project.root / "specs").glob("*.mp4")}


def is_told(project: World, words: str) -> bool:
    return any(words in said for said in (*project.told.said, *project.told.holds.values()))


def test_apply_buys_no_copy_and_what_was_bought_stays_complete(
    project: World, sim: Simulator
) -> None:
    """A copy with another prompt is blocked with a sentence; one whose wish is bought already is complete."""
    project.write("v.yaml", prompt="one")
    assert project.apply() is Ended.SETTLED
    project.write("v 2.yaml", prompt="two")
    project.write("v (Ann's conflicted copy).yaml", prompt="three")
    project.write("v copy.yaml", prompt="one")
    project.apply()
    states = {item.generation.spec: item for item in project.plan().assessments}
    assert states["specs/v.yaml"].action is Action.KEEP
    assert states["specs/v copy.yaml"].status is Status.COMPLETE
    for name in ("v 2", "v (Ann's conflicted copy)"):
        assert states[f"specs/{name}.yaml"].status is Status.BLOCKED
        assert f"`!{name}.yaml`" in states[f"specs/{name}.yaml"].reason
    assert list(sim.billed().values()) == [1]
    (project.root / IGNORE_FILE).write_text("!v 2.yaml\n")
    project.apply()
    assert sorted(sim.billed().values()) == [1, 1]
    assert films(project) == {"v.mp4", "v copy.mp4", "v 2.mp4"}


def test_watch_buys_no_copy_until_a_line_or_its_name_asks_for_it(
    project: World, sim: Simulator
) -> None:
    """A synchronising program's copy waits, a line in the ignore file buys it, and so does the end of the original."""
    project.write("v.yaml", prompt="one")
    with watching(project):
        wait_until(lambda: "v.mp4" in films(project), "the original")
        project.write("v 2.yaml", prompt="two")
        project.write("w (1).yaml", prompt="three")
        wait_until(lambda: "w (1).mp4" in films(project), "a name that is nobody's copy")
        wait_until(lambda: is_told(project, "`!v 2.yaml`"), "the sentence")
        assert len(sim.billed()) == 2
        (project.root / IGNORE_FILE).write_text("!v 2.yaml\n")
        wait_until(lambda: "v 2.mp4" in films(project), "the copy that is wanted")
    assert sorted(sim.billed().values()) == [1, 1, 1]


def test_watch_follows_the_ignore_file(project: World, sim: Simulator) -> None:
    """What is ignored is not bought and not said; what is not ignored any more is bought within moments."""
    (project.root / IGNORE_FILE).write_text("old/\nREADME.*\n")
    project.write("README.yaml", "hello: there\n")
    project.write("old/v.yaml", prompt="old")
    project.write("w.yaml", prompt="new")
    with watching(project):
        wait_until(lambda: "w.mp4" in films(project), "the spec")
        assert not is_told(project, "README")
        (project.root / IGNORE_FILE).write_text("README.*\n")
        wait_until((project.root / "specs/old/v.mp4").exists, "what is not ignored any more")
        (project.root / IGNORE_FILE).write_text("README.*\nx.yaml\n")
        project.write("x.yaml", prompt="never")
        project.write("y.yaml", prompt="last")
        wait_until(lambda: "y.mp4" in films(project), "the last spec")
    assert sorted(sim.billed().values()) == [1, 1, 1]
    assert not is_told(project, "README")


def test_where_commits_are_required_the_ignore_file_must_be_committed(
    project: World, sim: Simulator
) -> None:
    """What a spec is by an edit that nobody committed is not bought, and the reason names the ignore file."""
    git = Project(project.root)
    (project.root / IGNORE_FILE).write_text("v.yaml\n")
    project.write("v.yaml", prompt="one")
    git.commit()
    (project.root / IGNORE_FILE).write_text("\n")
    with watching(project, checkout=Checkout.find(project.root)):
        wait_until(lambda: is_told(project, f"`{IGNORE_FILE}` is not committed"), "the reason")
        assert sim.billed() == {}
        git.commit()
        wait_until(lambda: "v.mp4" in films(project), "the film, once committed")


def test_nothing_new_is_bought_while_the_ignore_file_cannot_be_understood_and_a_paid_task_goes_on(
    project: World, sim: Simulator
) -> None:
    """An edit that goes wrong is said once with its place, keeps nobody's paid result, and its end buys what waited."""
    sim.set_speed(20)
    project.write("paid.yaml", prompt="one")
    with watching(project):
        wait_until(lambda: sim.requests().get("create") == 1, "a task that runs")
        (project.root / IGNORE_FILE).write_text("[z-a]\n")
        wait_until(lambda: is_told(project, f"{IGNORE_FILE}:1:1"), "the sentence")
        project.write("new.yaml", prompt="two")
        wait_until(lambda: is_told(project, "nothing is bought while"), "what holds the new one")
        sim.set_speed(600)
        wait_until(lambda: films(project) == {"paid.mp4"}, "the paid result")
        assert len(sim.billed()) == 1
        (project.root / IGNORE_FILE).unlink()
        wait_until(lambda: films(project) == {"paid.mp4", "new.mp4"}, "what waited")
    assert len([said for said in project.told.said if said.startswith(f"{IGNORE_FILE}:")]) == 1


def test_one_wrong_defaults_file_is_one_line_and_odd_names_are_said_once(
    project: World, sim: Simulator
) -> None:
    """The log names the file that is wrong and how many wait for it, a name that nobody can read, and a likely slip."""
    for number in range(30):
        project.write(f"deep/s{number}.yaml", prompt=f"take {number}")
    project.write("deep/_defaults.yaml", "model: kling-v3\n")
    project.write("dance.yaml.txt")
    project.write("good.yaml", prompt="good")
    (project.root / os.fsdecode(b"specs/d\xe9j\xe0.yaml")).write_text("mode: std\n")
    with watching(project):
        wait_until(lambda: "good.mp4" in films(project), "the good one")
        (line,) = [said for said in project.told.said if "deep/" in said]
        assert line.startswith("specs/deep/_defaults.yaml:1:1: ")
        assert "30 specs wait for it" in line
        assert len([said for said in project.told.said if "d\\xe9j\\xe0.yaml" in said]) == 1
        assert len([said for said in project.told.said if "dance.yaml.txt" in said]) == 1
        project.write("deep/_defaults.yaml", "suspend: true\n")
        wait_until(lambda: is_told(project, "_defaults.yaml` is valid again"), "the end of it")
        assert not is_told(project, "deep/s1")
    assert len(sim.billed()) == 1
