"""The facts that a history is judged by: the provider's books, the state, the folder. Reads, and changes nothing."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from reconciler.core.diff import Action, Plan
from reconciler.core.motion_control import UNITS_PER_SECOND
from reconciler.core.states import Record
from reconciler.engine.survey import Survey, Surveyor
from reconciler.simulator.provider import Provider
from reconciler.store.objects import ObjectStore
from reconciler.store.repository import Repository
from reconciler.workspace.loader import load
from tests.simulation.lives import POSTERS
from tests.simulation.witness import Sent

_AT_REST = frozenset({Action.KEEP, Action.FAILED, Action.INVALID, Action.EXPIRED, Action.ORPHAN})


@dataclass(frozen=True)
class Job:
    """One task as the provider's own books have it."""

    name: str
    """The external id, or the task's where it has none."""
    task_id: str
    at: int
    units: Decimal
    refunded: bool
    failure: str
    film: bytes | None


@dataclass
class Scene:
    """What there is to judge."""

    root: Path
    provider: Provider
    requests: list[Sent]
    lost: list[float]
    """When states or saved results were lost, virtual seconds."""
    started_ms: int
    """When virtual time began, ms since the epoch."""
    jobs: list[Job] = field(default_factory=list)
    records: Mapping[str, Record] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.objects = ObjectStore(self.root / "state" / "objects")
        self.jobs = list(_jobs(self.provider))
        repository = _reading(self.root)
        try:
            self.records = repository.records()
            self.plan, self.survey = _plan(self.root, repository)
            self.attempts = {
                record.external_task_id: record
                for base in self.records
                for record in repository.attempts(base)
            }
        finally:
            repository.close()

    def wanted(self) -> set[str]:
        """Return the base ids that valid specs ask for."""
        return {wish.external_task_id for wish in self.survey.valid_wishes()}


def unsettled(root: Path, was_lost: bool) -> list[str]:
    """Return what is left to do in a folder, in sentences; `was_lost`: its state was, at least once."""
    if under_way := _under_way(root):
        return [f"{under_way} on record"]
    repository = _reading(root)
    try:
        return still_to_do(_plan(root, repository)[0], was_lost)
    finally:
        repository.close()


def tree(root: Path) -> dict[str, tuple[bytes, int]]:
    """Return the bytes and times (ns) of every file that a further run has to leave alone."""
    files = [*(root / "specs").rglob("*"), *(root / "state" / "objects").rglob("*")]
    return {
        str(path.relative_to(root)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(files)
        if path.is_file()
    }


def still_to_do(plan: Plan, was_lost: bool) -> list[str]:
    """Return what a plan would do, or cannot, in sentences."""
    return [
        f"{item.external_task_id} {item.action} ({item.reason})"
        for item in plan.assessments
        if not (item.action in _AT_REST or (was_lost and NOT_OURS in item.reason))
    ]


NOT_OURS = "holds a file that is not ours"
"""Right for a video that nobody remembers any more: its spec asks for another one, and the state was lost."""


def _jobs(provider: Provider) -> Iterator[Job]:
    report: Any = provider.ledger.report()
    refunded = {e["task_id"] for e in report["entries"] if e["kind"] == "refunded"}
    for entry in report["entries"]:
        if entry["kind"] != "billed":
            continue
        task = provider._tasks.by_task_id(entry["task_id"])
        assert task is not None
        film = provider.studio.path(task, watermark=False)
        yield Job(
            entry["external_task_id"] or task.task_id,
            task.task_id,
            entry["at"],
            Decimal(entry["units"]),
            task.task_id in refunded,
            task.failure,
            film.read_bytes() if film.exists() else None,
        )


def _under_way(root: Path) -> str:
    """Return some status that is not the end of anything, quickly: a look at everything costs more."""
    if not (path := root / "state" / "reconciler.db").exists():
        return ""
    ends = "('complete', 'failed', 'rejected', 'expired', 'pending')"
    query = f"SELECT status FROM task WHERE status NOT IN {ends}"
    with contextlib.closing(sqlite3.connect(path)) as reading, contextlib.suppress(sqlite3.Error):
        found = reading.execute(query).fetchone()
        return str(found[0]) if found else ""
    return ""


def _reading(root: Path) -> Repository:
    return Repository.open(root / "state" / "reconciler.db", read_only=True)


def _plan(root: Path, repository: Repository) -> tuple[Plan, Survey]:
    objects = ObjectStore(root / "state" / "objects")
    surveyor = Surveyor(root, repository, objects, can_host=True, previews=POSTERS)
    survey = surveyor.survey(load(root, "specs", prices=UNITS_PER_SECOND))
    return survey.plan(survey.desired.generations, survey.desired.invalid, whole=True), survey
