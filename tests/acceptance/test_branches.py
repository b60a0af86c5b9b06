"""While `apply` waits for a result, somebody changes what it was for: consent to buy is not consent to write there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.project import Project, Running, picture, sha256, wait_until
from tests.support.simulator import SPEED, Simulator, simulator


@pytest.fixture
def slow() -> Iterator[Simulator]:
    """A simulator whose tasks take long, until its speed is raised."""
    with simulator() as running:
        yield running


@pytest.fixture
def project(tmp_path: Path, slow: Simulator) -> Project:
    """Two branches, everything committed: on `other` a bought video, on the one checked out another wish."""
    project = Project(tmp_path / "project", slow.env())
    project.commit()
    project.git("branch", "-M", "mine")
    project.git("checkout", "--quiet", "-b", "other")
    project.spec(prompt="theirs")
    assert project.apply().code == 0
    project.commit()
    project.git("checkout", "--quiet", "mine")
    project.spec(prompt="mine", image_url="girl.png")
    picture(project.specs / "girl.png")
    project.commit()
    return project


@contextmanager
def bought(project: Project, slow: Simulator, *arguments: str) -> Iterator[Running]:
    """Run `apply` until its task is under way; its result is there when the block ends, and so is its end."""
    slow.set_speed(0)
    with project.running("apply", "--yes", *arguments) as running:
        running.wait_for(" submitted ")
        yield running
        slow.set_speed(SPEED)
        running.ended()


def clean(project: Project) -> bool:
    return project.git("status", "--porcelain") == ""


@pytest.mark.parametrize("arguments", [(), ("PATH",)], ids=["everything", "a path"])
def test_another_branch_is_left_as_it_is(
    project: Project, slow: Simulator, arguments: tuple[str, ...]
) -> None:
    """Its tracked video and receipt stay; what was bought is kept, and published when its own branch is back."""
    named = [str(project.specs / "dance.yaml") for _ in arguments]
    with bought(project, slow, *named) as running:
        project.git("checkout", "--quiet", "other")
    assert clean(project)
    said = running.err.read_text()
    assert "not published" in said
    assert "mistake in reconciler" not in said
    theirs = sha256(project.specs / "dance.mp4")
    project.git("checkout", "--quiet", "mine")
    assert project.run("plan", "--json").document["summary"] == {"publish": 1}
    assert project.apply().code == 0
    assert sha256(project.specs / "dance.mp4") != theirs
    assert sorted(slow.billed().values()) == [1, 1]


def test_a_branch_that_is_half_there_is_waited_for(project: Project, slow: Simulator) -> None:
    """Git has replaced the video, and not the spec yet: nothing is written before it is done."""
    video, spec = project.specs / "dance.mp4", project.specs / "dance.yaml"
    project.git("checkout", "--quiet", "other")
    theirs = video.read_bytes(), spec.read_text()
    project.git("checkout", "--quiet", "mine")
    lock = project.root / ".git/index.lock"
    with bought(project, slow) as running:
        lock.touch()
        video.write_bytes(theirs[0])
        slow.set_speed(SPEED)
        running.wait_for(" complete ")
        assert video.read_bytes() == theirs[0]
        spec.write_text(theirs[1])
        lock.unlink()
    assert video.read_bytes() == theirs[0]
    assert not project.receipts()


def edited(project: Project) -> None:
    project.spec(prompt="a better idea", image_url="girl.png")


def deleted(project: Project) -> None:
    (project.specs / "dance.yaml").unlink()


def renamed(project: Project) -> None:
    (project.specs / "dance.yaml").rename(project.specs / "waltz.yaml")


def broken(project: Project) -> None:
    project.spec(prompt="mine", image_url="girl.png", nonsense=1)


def made_of_another_image(project: Project) -> None:
    picture(project.specs / "girl.png", "red")


def given_another_default(project: Project) -> None:
    project.write("specs/_defaults.yaml", "keep_original_sound: no\n")


@pytest.mark.parametrize(
    "change",
    [edited, deleted, renamed, broken, made_of_another_image, given_another_default],
)
def test_nothing_is_written_beside_a_spec_that_asks_for_something_else(
    project: Project, slow: Simulator, change: Callable[[Project], None]
) -> None:
    """No video, no receipt; with the change taken back, both come without a request that costs."""
    with bought(project, slow) as running:
        change(project)
    assert "mistake in reconciler" not in running.err.read_text()
    assert not project.videos()
    assert not project.receipts()
    for left in project.specs.glob("*.yaml"):
        left.unlink()
    project.git("checkout", "--quiet", "--force", "mine", "--", "specs")
    project.spec(prompt="mine", image_url="girl.png")
    asked = slow.requests()["create_attempts"]
    assert project.apply().code == 0
    assert list(project.videos()) == ["specs/dance.mp4"]
    assert slow.requests()["create_attempts"] == asked


def test_a_label_that_moved_takes_its_result_along(project: Project, slow: Simulator) -> None:
    """The same generation is asked for under another name by then: it is published there, and only there."""
    with bought(project, slow):
        project.spec(
            prompt="mine", image_url="girl.png", mode=None, matrix={"mode": ["std", "pro"]}
        )
    assert list(project.videos()) == ["specs/dance.std.mp4"]
    (entries,) = project.receipts().values()
    assert [entry["label"] for entry in entries if entry.get("current", True)] == ["std"]


def test_a_comment_changes_nothing(project: Project, slow: Simulator) -> None:
    """A spec that is saved again and asks for the same gets its result, by the same run."""
    with bought(project, slow) as running:
        spec = project.specs / "dance.yaml"
        spec.write_text("# a remark\n" + spec.read_text())
    assert running.ended().code == 0
    assert list(project.videos()) == ["specs/dance.mp4"]
    assert len(project.receipts()) == 1


def test_a_spec_that_is_being_written_is_waited_for(project: Project, slow: Simulator) -> None:
    """The result comes while half of the spec is there: when the other half is back, the same run publishes it."""
    spec = project.specs / "dance.yaml"
    whole = spec.read_text()

    def is_complete() -> bool:
        spec.write_text(whole[:40])
        return " complete " in running.err.read_text()

    with bought(project, slow) as running:
        slow.set_speed(SPEED)
        wait_until(is_complete, "the result")
        spec.write_text(whole)
    assert running.ended().code == 0
    assert list(project.videos()) == ["specs/dance.mp4"]


def test_what_stood_already_is_not_put_back_on_another_branch(
    project: Project, slow: Simulator
) -> None:
    """Of a run's own outputs those that it only confirms at its end are no more the plan's to replace."""
    project.git("checkout", "--quiet", "other")
    project.spec("late.yaml", prompt="late")
    project.commit()
    project.git("checkout", "--quiet", "-b", "third")
    project.spec(prompt="third")
    (project.specs / "late.yaml").unlink()
    assert project.apply().code == 0
    project.commit()
    project.git("checkout", "--quiet", "other")
    with bought(project, slow):
        project.git("checkout", "--quiet", "third")
    assert clean(project)
