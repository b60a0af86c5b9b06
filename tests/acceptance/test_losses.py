"""What is lost on this side is not bought again: the state, the outputs, the receipts, the whole checkout."""

from __future__ import annotations

import pytest

from tests.support.money import assert_bought_once, assert_quiet, film
from tests.support.project import Project, picture
from tests.support.simulator import Simulator

MONTH = 31 * 24 * 3600.0
ONLY_RECEIPTS = "state/\n*.mp4\n"


@pytest.fixture
def bought(project: Project, sim: Simulator) -> Project:
    """A project with two specs and three generations, all complete."""
    picture(project.specs / "assets" / "girl.png")
    project.spec("dance.yaml", image_url="assets/girl.png", takes=2)
    project.spec("deep/wave.yaml", prompt="a wave")
    assert_bought_once(project, sim, project.apply())
    return project


@pytest.mark.parametrize(
    ("losses", "fetched"),
    [
        pytest.param(["state"], 0, id="state: receipts and outputs say it all"),
        pytest.param(["outputs"], 0, id="outputs: the object store has them"),
        pytest.param(["receipts"], 0, id="receipts: written again from the state"),
        pytest.param(["state", "outputs"], 3, id="both: fetched again by id"),
        pytest.param(["state", "receipts"], 3, id="only videos: adopted by id, found to be ours"),
        pytest.param(["state", "outputs", "receipts"], 3, id="all: the provider is asked by id"),
    ],
)
def test_a_loss_costs_nothing(
    bought: Project, sim: Simulator, losses: list[str], fetched: int
) -> None:
    """Whatever is lost comes back as it was, without a purchase; only what is nowhere on this disk is fetched."""
    videos, asked = bought.videos(), sim.requests()
    for what in losses:
        bought.lose(what)
    assert_bought_once(bought, sim, bought.apply())
    assert bought.videos() == videos
    assert sim.requests()["create_attempts"] == asked["create_attempts"]
    assert sim.requests()["result"] - asked["result"] == fetched
    assert_quiet(bought, sim)


def test_a_clone_with_receipts_and_videos_needs_no_provider(
    bought: Project, sim: Simulator
) -> None:
    """A fresh clone of everything is complete at once, without a single request, and stays clean."""
    bought.commit()
    clone, asked = bought.clone(), sim.requests()
    assert set(clone.status().statuses.values()) == {"complete"}
    assert_bought_once(clone, sim, clone.apply())
    assert sim.requests() == asked
    assert clone.git("status", "--porcelain") == ""
    assert_quiet(clone, sim)


def test_a_clone_with_receipts_only_fetches_by_id(bought: Project, sim: Simulator) -> None:
    """A fresh clone without the videos fetches them again, buys nothing, and stays clean."""
    bought.commit(ignore=ONLY_RECEIPTS)
    clone, asked = bought.clone(), sim.requests()
    assert clone.videos() == {}
    assert_bought_once(clone, sim, clone.apply())
    assert clone.videos() == bought.videos()
    assert sim.requests()["create_attempts"] == asked["create_attempts"]
    assert clone.git("status", "--porcelain") == ""
    assert_quiet(clone, sim)


def test_a_clone_after_the_provider_cleared_the_results_is_expired(
    bought: Project, sim: Simulator
) -> None:
    """Receipts, no videos, and a provider that has forgotten: `expired`, exit 3, and nothing is bought, ever."""
    bought.commit(ignore=ONLY_RECEIPTS)
    clone, asked = bought.clone(), sim.requests()
    sim.advance(MONTH)
    for _ in range(2):
        done = clone.apply()
        assert done.code == 3, done
        assert set(done.statuses.values()) == {"expired"}, done
    assert set(clone.status().statuses.values()) == {"expired"}
    assert sim.requests()["create_attempts"] == asked["create_attempts"]
    assert set(sim.billed().values()) == {1}


def test_an_expired_clone_does_not_tell_the_others_that_their_videos_are_gone(
    bought: Project, sim: Simulator
) -> None:
    """A clone without videos changes no receipt: committed, it would make those expired who have the videos."""
    bought.commit(ignore=ONLY_RECEIPTS)
    clone = bought.clone()
    sim.advance(MONTH)
    assert clone.apply().code == 3
    assert clone.git("status", "--porcelain") == ""


def test_an_expired_clone_is_cured_by_the_videos(bought: Project, sim: Simulator) -> None:
    """Expired in a clone; once somebody brings the old videos, they are recognised as ours and complete."""
    bought.commit(ignore=ONLY_RECEIPTS)
    clone = bought.clone()
    sim.advance(MONTH)
    assert clone.apply().code == 3
    for name in bought.videos():
        (clone.root / name).write_bytes((bought.root / name).read_bytes())
    assert_bought_once(clone, sim, clone.apply())


def test_the_library_outlives_the_provider(bought: Project, sim: Simulator) -> None:
    """With state and videos on disk, a provider that has cleared everything changes nothing."""
    sim.advance(MONTH)
    assert_quiet(bought, sim)
    bought.lose("outputs")
    assert_bought_once(bought, sim, bought.apply())


def test_a_video_that_somebody_changed_is_not_overwritten(bought: Project, sim: Simulator) -> None:
    """A file that is no longer ours stays as it is: exit 3, and the sentence names it."""
    path = bought.specs / "deep" / "wave.mp4"
    path.write_bytes(b"my own cut")
    done = bought.apply()
    assert done.code == 3, done
    assert "specs/deep/wave.mp4" in done.err
    assert path.read_bytes() == b"my own cut"
    path.unlink()
    done = bought.apply()
    assert_bought_once(bought, sim, done)
    (task_id,) = [row["task_id"] for row in done.document["generations"] if "wave" in row["spec"]]
    assert bought.videos()["specs/deep/wave.mp4"] == film(sim, task_id)


def test_a_partial_download_goes_on(project: Project, sim: Simulator) -> None:
    """A download that broke off in an earlier run is gone on with, and ends with the provider's bytes."""
    project.spec()
    sim.faults([{"endpoint": "result", "effect": {"stall": 1000}}])
    assert project.apply("--timeout", "3").code == 4
    assert sum(path.stat().st_size for path in (project.state / "objects").rglob("*.part")) >= 1000
    sim.faults([])
    assert_bought_once(project, sim, project.apply())


@pytest.mark.parametrize("losses", [["state"], ["state", "receipts"]], ids="+".join)
def test_a_failure_is_remembered_without_the_state(
    project: Project, sim: Simulator, losses: list[str]
) -> None:
    """A failed task stays failed for whoever lost the state: exit 3, and it is not bought again."""
    project.spec(prompt="[[fail: too dark]]")
    assert project.apply().code == 3
    for what in losses:
        project.lose(what)
    done = project.apply()
    assert (done.code, set(done.statuses.values())) == (3, {"failed"}), done
    assert sim.requests()["create_attempts"] == 1


@pytest.mark.parametrize("losses", [["state"], ["state", "receipts", "outputs"]], ids="+".join)
def test_a_second_attempt_is_found_again_without_the_state(
    project: Project, sim: Simulator, losses: list[str]
) -> None:
    """What a second attempt bought is found again by its own id, and no third one is made."""
    project.spec(retries=1)
    sim.faults([{"endpoint": "create", "when": {"first": 1}, "effect": {"fail": "bad luck"}}])
    assert project.apply().code == 0
    for what in losses:
        project.lose(what)
    assert_bought_once(project, sim, project.apply())
    assert sim.requests()["create_attempts"] == 2


@pytest.mark.parametrize("losses", [[], ["state"]], ids=["", "state"])
def test_an_id_of_ones_own_stands_for_one_content(
    project: Project, sim: Simulator, losses: list[str]
) -> None:
    """A spec that sets its own id and then changes: an error that names the spec, and no purchase."""
    project.spec(external_task_id="my-dance")
    assert_bought_once(project, sim, project.apply())
    project.spec(external_task_id="my-dance", prompt="another dance")
    for what in losses:
        project.lose(what)
    done = project.apply()
    assert (done.code, done.document["summary"]) == (3, {"invalid": 1}), done
    assert "specs/dance.yaml" in done.err
    assert "external_task_id" in done.err
    assert sim.billed() == {"my-dance": 1}
