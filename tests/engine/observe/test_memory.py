"""What survives a loss: state, receipts and files each remember enough that nothing is bought again."""

from __future__ import annotations

import json
import time
from decimal import Decimal

from reconciler.core.diff import Action
from reconciler.core.progress import Ended
from reconciler.core.states import Status
from reconciler.store.values import Caps
from tests.engine.world import World
from tests.support.simulator import Simulator

GONE_AFTER = 31 * 24 * 3600.0


def test_a_receipt_and_a_video_are_complete_without_a_request(
    project: World, sim: Simulator
) -> None:
    """A fresh clone: the state is empty, nothing is asked, and the state knows it afterwards."""
    project.write("dance.yaml")
    project.apply()
    before = sim.requests()
    project.lose_state()
    assert project.only().action is Action.KEEP
    assert project.apply() is Ended.SETTLED
    assert sim.requests() == before
    record = project.repository.record(project.only().external_task_id)
    assert record is not None
    assert record.status is Status.COMPLETE


def test_a_receipt_without_its_video_fetches_it_again_by_id(project: World, sim: Simulator) -> None:
    """While the provider still has it."""
    project.write("dance.yaml")
    project.apply()
    video = project.root / "specs/dance.mp4"
    receipt = (project.root / "specs/dance.receipt.json").read_bytes()
    good = video.read_bytes()
    video.unlink()
    project.lose_state()
    project.apply()
    assert (video.read_bytes(), list(sim.billed().values())) == (good, [1])
    assert (project.root / "specs/dance.receipt.json").read_bytes() == receipt


def test_a_result_that_the_provider_cleared_is_expired_bought_never_again_and_ours_when_it_turns_up(
    project: World, sim: Simulator
) -> None:
    """31 days later a clone without the video: `expired`, nothing bought, the receipt untouched; the file put
    back from somewhere is complete again."""
    project.write("dance.yaml")
    project.apply()
    video = project.root / "specs/dance.mp4"
    receipt = (project.root / "specs/dance.receipt.json").read_bytes()
    good = video.read_bytes()
    video.unlink()
    project.lose_state()
    sim.advance(GONE_AFTER)
    project.apply()
    assert project.only().status is Status.EXPIRED
    assert project.apply() is Ended.SETTLED
    assert list(sim.billed().values()) == [1]
    assert (project.root / "specs/dance.receipt.json").read_bytes() == receipt
    video.write_bytes(good)
    assert project.only().action is Action.KEEP
    project.apply()
    assert project.only().status is Status.COMPLETE


def test_a_renamed_spec_gets_its_video_from_the_old_place(project: World, sim: Simulator) -> None:
    """`git mv` of the spec alone, in a clone without state: the old receipt names the file, and no request is sent."""
    spec = project.write("dance.yaml")
    project.apply()
    project.lose_state()
    before = sim.requests()
    spec.rename(spec.with_name("waltz.yaml"))
    project.apply()
    assert sim.requests() == before
    old, new = project.root / "specs/dance.mp4", project.root / "specs/waltz.mp4"
    assert old.read_bytes() == new.read_bytes()
    assert list(project.survey().needed) == ["specs/dance.mp4"], "only its receipt says whose it is"


def test_the_output_of_a_spec_that_is_gone_is_an_orphan_and_stays(
    project: World, sim: Simulator
) -> None:
    """Nothing paid for is deleted by itself; the plan lists it."""
    spec = project.write("dance.yaml")
    project.apply()
    spec.unlink()
    assert project.plan().orphans == ("specs/dance.mp4",)
    project.apply()
    assert (project.root / "specs/dance.mp4").exists()


def test_two_specs_that_swap_their_names_swap_their_videos(project: World, sim: Simulator) -> None:
    """Each output is replaced by the other's bytes, which are kept first; nothing is bought.

    After the loss of the state only receipts say whose they are: they stay until somebody moves them.
    """
    a = project.write("a.yaml", prompt="one")
    b = project.write("b.yaml", prompt="two")
    project.apply()
    films = [project.root / f"specs/{name}.mp4" for name in "ab"]
    swapped = [film.read_bytes() for film in reversed(films)]
    before = sim.requests()
    first, second = a.read_text(), b.read_text()
    a.write_text(second)
    b.write_text(first)
    project.apply()
    assert [film.read_bytes() for film in films] == swapped
    assert sim.requests() == before
    project.lose_state()
    a.write_text(first)
    b.write_text(second)
    project.apply()
    assert [film.read_bytes() for film in films] == swapped
    assert {item.status for item in project.plan().assessments} == {Status.BLOCKED}
    for film in films:
        film.unlink()
    project.apply()
    assert [film.read_bytes() for film in films] == swapped[::-1]
    assert list(sim.billed().values()) == [1, 1]


def test_todays_purchases_count_for_todays_cap_after_the_state_is_lost(
    project: World, sim: Simulator
) -> None:
    """A cap that a deleted folder resets is no cap."""
    project.write("a.yaml", prompt="one")
    project.apply()
    project.lose_state()
    project.write("b.yaml", prompt="two")
    project.apply(caps=Caps(per_day=Decimal(6)))
    statuses = {item.generation.spec: item.status for item in project.plan().assessments}
    assert statuses == {"specs/a.yaml": Status.COMPLETE, "specs/b.yaml": Status.BLOCKED}
    assert len(sim.billed()) == 1


def test_a_second_attempt_is_remembered_by_the_receipt(project: World, sim: Simulator) -> None:
    """The -r2 of a retry that succeeded is the generation's result in a fresh clone too."""
    spec = project.write("dance.yaml")
    spec.write_text(spec.read_text() + "retries: 1\n")
    sim.faults([{"endpoint": "create", "when": {"first": 1}, "effect": {"fail": "bad luck"}}])
    project.apply()
    billed = sim.billed()
    project.lose_state()
    assert project.only().action is Action.KEEP
    (project.root / "specs/dance.receipt.json").unlink()
    project.apply()
    assert project.only().status is Status.COMPLETE
    assert sim.billed() == billed


def test_a_failure_is_remembered_by_the_receipt(project: World, sim: Simulator) -> None:
    """Failed is not wanted again by itself, in a fresh clone neither, whatever the provider remembers."""
    project.write("dance.yaml", prompt='"falls [[fail: too dark]]"')
    project.apply()
    project.lose_state()
    sim.advance(GONE_AFTER)
    project.apply()
    assert project.only().status is Status.FAILED
    assert len(sim.billed()) == 1


def test_a_second_run_leaves_every_byte_and_time_as_it_was(project: World) -> None:
    """Receipts and videos are not touched by a run that has nothing to do."""
    project.write("dance.yaml")
    project.apply()
    before = {
        path: (path.read_bytes(), path.stat().st_mtime_ns)
        for path in (project.root / "specs").iterdir()
    }
    time.sleep(0.01)
    project.apply()
    assert {
        path: (path.read_bytes(), path.stat().st_mtime_ns)
        for path in (project.root / "specs").iterdir()
    } == before


def test_an_old_commit_dirties_nothing(project: World, sim: Simulator) -> None:
    """Checking out the receipt, video and spec of last week, with a state that knows more since: no byte changes."""
    spec = project.write("dance.yaml")
    project.apply()
    folder = project.root / "specs"
    last_week = {path: path.read_bytes() for path in folder.iterdir()}
    project.write("dance.yaml", prompt="jumps")
    project.apply()
    receipt = json.loads((folder / "dance.receipt.json").read_text())
    assert [entry.get("current", True) for entry in receipt["generations"]].count(False) == 1
    before = sim.requests()
    for path, data in last_week.items():
        path.write_bytes(data)
    project.apply()
    assert {path: path.read_bytes() for path in folder.iterdir()} == last_week
    assert sim.requests() == before
    assert spec.exists()
