"""What a test asks in the end: how often was each generation paid for, and are the bytes that were paid for here."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tests.support.project import Done, Project, base_of, sha256
from tests.support.simulator import Simulator

_SPENDING = ("create", "create_attempts", "result", "upload")


def purchases(sim: Simulator) -> dict[str, int]:
    """Return how often each generation was billed, all its attempts together."""
    counts: Counter[str] = Counter()
    for name, times in sim.billed().items():
        counts[base_of(name)] += times
    return dict(counts)


def assert_bought_once(project: Project, sim: Simulator, done: Done) -> None:
    """Every generation of a finished `apply --json`: billed once, its video the provider's, its receipt complete."""
    assert done.code == 0, done
    rows = done.document["generations"]
    assert rows, "nothing was asked for"
    assert {row["status"] for row in rows} == {"complete"}, done
    bills = {row["external_task_id"]: sim.billed().get(row["external_task_id"]) for row in rows}
    assert set(bills.values()) == {1}, f"billed: {bills}\n{done}"
    for row in rows:
        _assert_delivered(project, sim, row)


def assert_quiet(project: Project, sim: Simulator) -> None:
    """A further apply exits 0, sends no create, fetches nothing, and leaves every byte and every time as it was."""
    files, asked = project.snapshot(), sim.requests()
    again = project.apply()
    assert again.code == 0, again
    assert project.snapshot() == files, again
    now = sim.requests()
    assert {key: now[key] for key in _SPENDING} == {key: asked[key] for key in _SPENDING}, again


def film(sim: Simulator, task_id: str) -> str:
    """Return the SHA-256 of a task's video as the provider made it."""
    return sha256(sim.config.folder / "films" / f"{task_id}.mp4")


def _assert_delivered(project: Project, sim: Simulator, row: dict[str, Any]) -> None:
    made = film(sim, row["task_id"])
    (output,) = [output for output in row["outputs"] if output["role"] == "video"]
    path = project.root / output["path"]
    assert sha256(path) == output["sha256"] == made
    assert path.stat().st_size == output["bytes"]
    receipt = (project.root / row["spec"]).with_suffix(".receipt.json")
    entries = project.receipts()[str(receipt.relative_to(project.root))]
    (entry,) = [one for one in entries if one["external_task_id"] == row["external_task_id"]]
    assert (entry["status"], entry["task_id"]) == ("complete", row["task_id"])
    assert [one["sha256"] for one in entry["outputs"] if one["role"] == "video"] == [made]
    assert entry["units"] is not None
