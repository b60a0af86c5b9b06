"""Results that are too large, and a disk that is nearly full: what is bought waits at the provider, and is not lost."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from reconciler.core.progress import Ended
from reconciler.core.states import Status
from tests.engine.world import World
from tests.support.simulator import Simulator

MIB = 1024**2


def left_over(project: World) -> int:
    """Return the bytes of downloads that are not whole."""
    partial = project.root / "state" / "objects" / "partial"
    return sum(path.stat().st_size for path in partial.glob("*.part"))


def test_a_result_that_is_too_large_is_thrown_away_and_fetched_when_it_is_allowed(
    project: World, sim: Simulator
) -> None:
    """Nothing of it stays on the disk; it stays bought and not saved, and names the setting; it is never bought again."""
    project.write("dance.yaml")
    project.max_result = 1000
    assert project.apply() is Ended.SETTLED
    assert project.only().status is Status.BLOCKED
    assert "RECONCILER_MAX_RESULT_BYTES" in project.only().reason
    (record,) = project.repository.records().values()
    assert record.status is Status.SUCCEEDED
    assert left_over(project) == 0
    project.max_result = 100 * MIB
    project.apply()
    assert project.only().status is Status.COMPLETE
    assert list(sim.billed().values()) == [1]


@pytest.mark.parametrize(
    ("blocks", "free", "reason"),
    [(2**30, 255 * MIB, "the reserve of a large disk"), (2**21, 80 * MIB, "a hundredth of a small one")],
)  # fmt: skip
def test_the_last_of_the_disk_is_left_for_the_state(
    project: World,
    sim: Simulator,
    monkeypatch: pytest.MonkeyPatch,
    blocks: int,
    free: int,
    reason: str,
) -> None:
    """No download takes it and nothing is bought; what happened is still written down, and all goes on with room."""
    project.write("dance.yaml")
    project.max_result = 1000
    project.apply()
    disk = SimpleNamespace(f_blocks=blocks, f_frsize=4096, f_bavail=free // 4096, f_flag=0)
    project.max_result = 100 * MIB
    project.write("later.yaml", prompt="another")
    with monkeypatch.context() as patch:
        patch.setattr(os, "statvfs", lambda _: disk)
        assert project.apply() is Ended.SETTLED, reason
        reasons = {item.generation.spec: item.reason for item in project.plan().assessments}
        assert all("the disk is nearly full" in said for said in reasons.values()), reasons
        assert "bought" in reasons["specs/dance.yaml"]
    assert left_over(project) == 0
    assert list(sim.billed().values()) == [1], "the other was not bought"
    project.apply()
    assert {item.status for item in project.plan().assessments} == {Status.COMPLETE}
    assert list(sim.billed().values()) == [1, 1]


def test_publishing_leaves_the_reserve_too(
    project: World, sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy beside the spec waits while it would take of the reserve; the object and the receipt are there."""
    project.write("dance.yaml")
    project.apply()
    video = project.root / "specs" / "dance.mp4"
    video.unlink()
    disk = SimpleNamespace(f_blocks=2**30, f_frsize=4096, f_bavail=256 * MIB // 4096, f_flag=0)
    with monkeypatch.context() as patch:
        patch.setattr(os, "statvfs", lambda _: disk)
        project.apply()
        assert not video.exists()
        assert "nearly full" in project.told.holds.popitem()[1]
    project.apply()
    assert video.exists()
    assert Path(project.root / "specs" / "dance.receipt.json").exists()
    assert list(sim.billed().values()) == [1]
