"""The machine loses power: what was not synced is gone or torn, and still each id is billed once.

The program is killed at a moment, and its folder is cut back to what was synced until then (`powercut.PowerCut`).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.killpoints import WORLD, assert_survived, wish
from tests.support.lives import both
from tests.support.powercut import Fall, PowerCut
from tests.support.project import Project
from tests.support.simulator import Simulator, simulator
from tests.support.warden import KILL, Call, Policy, warden

IN_DOUBT = {"RECONCILER_ABSENCE_GRACE": "4"}
HIDDEN = 2.5
"""Real seconds that the provider hides a new task: longer than a restart takes, shorter than the grace."""

Moment = Callable[[Call, Simulator, Project], bool]


def create_sent(call: Call, sim: Simulator, project: Project) -> bool:
    """The task exists, and nobody has read the answer."""
    return call.is_network and sim.requests()["create"] == 1


def downloading(call: Call, sim: Simulator, project: Project) -> bool:
    """Bytes of the film are on disk, and none of them is synced."""
    return call.name == "fsync" and call.path.suffix == ".part" and call.path.stat().st_size > 0


def object_named(call: Call, sim: Simulator, project: Project) -> bool:
    """The object has its name, and its folder is not synced."""
    return (
        call.name == "fsync" and call.path.parent == project.state / "objects" and _is_shard(call)
    )


def output_named(call: Call, sim: Simulator, project: Project) -> bool:
    """The output has its name, and its folder is not synced."""
    return call.name == "fsync" and call.path == project.specs and _is_there(project, "dance.mp4")


def receipt_named(call: Call, sim: Simulator, project: Project) -> bool:
    """The receipt has its name, and its folder is not synced."""
    return output_named(call, sim, project) and _is_there(project, "dance.receipt.json")


def _is_shard(call: Call) -> bool:
    return len(call.path.name) == 2 and any(call.path.iterdir())


def _is_there(project: Project, name: str) -> bool:
    return (project.specs / name).exists()


@pytest.mark.parametrize(
    ("moment", "fall"),
    [
        (downloading, "torn"),
        (object_named, "strict"),
        (object_named, "names"),
        (output_named, "strict"),
        (output_named, "names"),
        (receipt_named, "names"),
        (receipt_named, "torn"),
    ],
)
def test_power_lost_at_this_moment_costs_nothing(
    tmp_path: Path, moment: Moment, fall: Fall
) -> None:
    """Whatever the disk makes of what was not synced: one apply finishes, billed once, the provider's bytes."""
    with simulator(**WORLD) as sim:
        project = Project(tmp_path / "project", sim.env())
        wish(project, "power")
        lose_power(project, lambda call: moment(call, sim, project), fall)
        assert_survived(project, sim)
        assert sim.requests()["create_attempts"] == 1


@pytest.mark.parametrize("fall", ["strict", "torn"])
def test_power_lost_after_the_create_leaves_the_intent(tmp_path: Path, fall: Fall) -> None:
    """Only the intent on disk keeps the next run from buying again what the provider does not show yet."""
    with simulator(duplicate_ids="bill_again", query_lag_s=HIDDEN) as sim:
        project = Project(tmp_path / "project", {**sim.env(), **IN_DOUBT})
        wish(project, "power")
        lose_power(project, lambda call: create_sent(call, sim, project), fall)
        assert_survived(project, sim)
        assert sim.requests()["create_attempts"] == 1


def test_power_lost_after_a_receipt_leaves_a_state_that_knows_as_much(tmp_path: Path) -> None:
    """The provider forgets the tasks before the next run: what the receipt calls complete stays complete, with its film."""
    with simulator() as sim:
        project = Project(tmp_path / "project", {**sim.env(), "RECONCILER_MAX_CONCURRENCY": "1"})
        project.spec(prompt=None, matrix={"prompt": ["a", "b"]})
        receipt = project.specs / "dance.receipt.json"

        def both_told(call: Call) -> bool:
            is_receipts = call.name == "fsync" and call.path == project.specs and receipt.exists()
            return is_receipts and receipt.read_text().count('"complete"') == 2

        lose_power(project, both_told, "names")
        whole = receipt.read_bytes()
        unknown = [{"endpoint": "query", "effect": {"refuse": 1203}}]
        sim.faults([*unknown, {"endpoint": "list", "effect": {"refuse": 5000}}])
        project.apply("--timeout", "5")
        assert set(project.status().statuses.values()) == {"complete"}
        assert receipt.read_bytes() == whole
        assert len(project.videos()) == 2
        assert list(sim.billed().values()) == [1, 1]


def lose_power(project: Project, moment: Callable[[Call], bool], fall: Fall) -> None:
    """Run `apply` until a moment, and leave on disk what was synced by then."""
    cut = PowerCut(project.root)
    dies: Policy = lambda call: KILL if moment(call) else None  # noqa: E731
    with warden(both(dies, cut)) as guard:
        done = project.run(command=guard.command(project.command("apply", "--yes", "--json")))
    assert done.code == -9, f"the moment did not come\n{done}"
    assert cut.syncs
    cut.fall(fall, random.Random(fall))
