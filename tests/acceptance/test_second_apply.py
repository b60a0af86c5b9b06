"""What is true already costs nothing: no request that buys, no download, no changed file."""

from __future__ import annotations

from tests.support.money import assert_bought_once, assert_quiet
from tests.support.project import UNREACHABLE, Project, picture
from tests.support.simulator import Simulator


def test_a_second_apply_changes_nothing_and_leaves_git_clean(
    project: Project, sim: Simulator
) -> None:
    """After one apply and a commit, a second one sends nothing, fetches nothing and touches no file."""
    picture(project.specs / "assets" / "girl.png")
    project.spec(image_url="assets/girl.png", matrix={"mode": ["std", "pro"]}, takes=2, mode=None)
    project.spec("deep/er/wave.yaml", prompt="a wave", watermark_info={"enabled": True})
    first = project.apply()
    assert_bought_once(project, sim, first)
    assert len(first.document["generations"]) == 5
    project.commit()
    assert_quiet(project, sim)
    assert project.git("status", "--porcelain") == ""


def test_a_complete_project_needs_no_provider_and_no_key(project: Project, sim: Simulator) -> None:
    """What is complete is found complete offline, without a key, by apply as by plan and status."""
    project.spec()
    project.apply()
    nothing = {**UNREACHABLE, "KLING_ACCESS_KEY": None, "KLING_SECRET_KEY": None}
    assert project.apply(env=nothing).code == 0
    assert project.run("plan", "--detailed-exitcode", env=nothing).code == 0
    assert set(project.status().statuses.values()) == {"complete"}


def test_nothing_is_bought_without_a_yes(project: Project, sim: Simulator) -> None:
    """Without a terminal and without `--yes`, apply buys nothing, says how to, and exits 1."""
    project.spec()
    done = project.run("apply")
    assert done.code == 1
    assert "--yes" in done.err
    assert "Traceback" not in done.err
    assert sim.requests()["create_attempts"] == 0
