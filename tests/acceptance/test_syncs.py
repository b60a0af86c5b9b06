"""What durability costs: how often the disk is waited for, from a wish to its receipt."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tests.support.project import Project
from tests.support.simulator import simulator
from tests.support.warden import Call, warden


def syncs(root: Path, wishes: int) -> Counter[str]:
    """Return how often an `apply` of so many wishes synced the state's log, other files, and folders for their names."""
    found = Counter[str]()
    with simulator(root / "simulator") as sim:
        project = Project(root / "project", sim.env())
        kept = project.specs, project.state / "objects", project.state / "reconciler.db-wal"

        def count(call: Call) -> None:
            if call.name in {"fsync", "fdatasync"} and any(map(call.path.is_relative_to, kept)):
                is_log = call.path == kept[-1]
                found["log" if is_log else "names" if call.path.is_dir() else "files"] += 1

        for number in range(wishes):
            project.spec(f"{number}.yaml", prompt=f"number {number}")
        with warden(count) as guard:
            done = project.run(command=guard.command(project.command("apply", "--yes", "--json")))
        assert done.code == 0, done
        assert list(sim.billed().values()) == [1] * wishes
    return found


def test_a_generation_waits_for_the_disk_ten_times(tmp_path: Path) -> None:
    """Twelve wishes against two. The state thrice: for the intent, the task that it led to, and the result; the film, its
    copy and the receipt once each; and the names of these three, and of a new folder for the first."""
    few, many = syncs(tmp_path / "few", 2), syncs(tmp_path / "many", 12)
    each = {kind: (many[kind] - few[kind]) / 10 for kind in sorted(many)}
    assert each["log"] <= 3.3, each  # a limit of the provider's that is learnt is remembered
    assert each["files"] == 3, each
    assert each["names"] <= 4, each
