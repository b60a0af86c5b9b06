"""The facts that a history is judged by: the provider's books, the state, the folder. Reads, and changes nothing."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from reconciler.core.diff import Action, Plan
from reconciler.core.motion_control import UNITS_PER_SECOND
from reconciler.core.states import Record, Status
from reconciler.engine.observe.survey import Survey, Surveyor
from reconciler.simulator.provider import Provider
from reconciler.store.objects import ObjectStore
from reconciler.store.repository import Repository
from reconciler.store.state import State
from reconciler.workspace.read.loader import load
from tests.simulation.lives import POSTERS
from tests.simulation.witness import Sent

Silent = Callable[[str], bool]
"""Whether a generation can never be asked about by its id: nothing of it has to settle."""

_AT_REST = frozenset({Action.KEEP, Action.FAILED, Action.INVALID, Action.EXPIRED, Action.ORPHAN})


@dataclass(frozen=True)
class Job:
    """One task as the provider's own books have it; times are ms since the epoch, of its own clock."""

    name: str
    """The external id, or the task's where it has none."""
    task_id: str
    at: int
    units: Decimal
    ended_at: int
    failure: str
    film: bytes | None


@dataclass
class Scene:
    """What there is to judge of one working copy, and of the account that all of them share."""

    root: Path
    provider: Provider
    requests: list[Sent]
    lost: list[float]
    """When states or saved results were lost, or forgotten, virtual seconds."""
    started_ms: int
    """When virtual time began, ms since the epoch."""
    retried: Mapping[str, int] = field(default_factory=dict)
    """Base id -> further attempts that somebody asked for."""
    is_silent_about: Silent = lambda _: False
    has_odd_numbers: bool = False
    """Whether answers told times and deductions that cannot be."""
    jobs: list[Job] = field(default_factory=list)
    records: Mapping[str, Record] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.objects = ObjectStore(self.root / "state" / "objects")
        self.jobs = list(_jobs(self.provider))
        repository = _reading(self.root)
        try:
            self.records = repository.records()
            self.plan, self.survey = _plan(self.root, repository)
            self.ledger = repository.ledger()
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

    def left_to_do(self) -> list[str]:
        """Return what a plan would do, in sentences."""
        return still_to_do(self.plan, bool(self.lost), self.is_silent_about)


def survey_of(root: Path) -> Survey | None:
    """Return what there is to see in a folder, None where it has no state yet."""
    if not (root / "state" / "reconciler.db").exists():
        return None
    repository = _reading(root)
    try:
        return _plan(root, repository)[1]
    finally:
        repository.close()


def is_in_doubt(root: Path) -> bool:
    """Tell whether what became of some create is not known."""
    path = root / "state" / "reconciler.db"
    if not path.exists():
        return False
    repository = Repository.open(path)
    try:
        return any(one.status is Status.SUBMITTING for one in repository.records().values())
    finally:
        repository.close()


def unsettled(root: Path, was_lost: bool, is_silent_about: Silent) -> list[str]:
    """Return what is left to do in a folder, in sentences; `was_lost`: its state was, at least once."""
    if under_way := _under_way(root, is_silent_about):
        return [f"{under_way} on record"]
    repository = _reading(root)
    try:
        return still_to_do(_plan(root, repository)[0], was_lost, is_silent_about)
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


def still_to_do(plan: Plan, was_lost: bool, is_silent_about: Silent) -> list[str]:
    """Return what a plan would do, or cannot, in sentences; nothing of what can never be asked about."""
    return [
        f"{item.external_task_id} {item.action} ({item.reason})"
        for item in plan.assessments
        if not (
            item.action in _AT_REST
            or (was_lost and any(words in item.reason for words in NOT_OURS))
            or is_silent_about(item.generation.external_task_id)
        )
    ]


NOT_OURS = ("holds a file that is not ours", "holds a file that only a receipt calls ours")
"""Right for a video that no state remembers any more: its spec asks for another one, and the state was lost."""


def _jobs(provider: Provider) -> Iterator[Job]:
    report: Any = provider.ledger.report()
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
            task.ended_at,
            task.failure,
            film.read_bytes() if film.exists() else None,
        )


def _under_way(root: Path, is_silent_about: Silent) -> str:
    """Return some status that is not the end of anything, quickly: a look at everything costs more."""
    if not (path := root / "state" / "reconciler.db").exists():
        return ""
    ends = "('complete', 'failed', 'rejected', 'expired', 'pending')"
    query = f"SELECT base_id, status FROM task WHERE status NOT IN {ends}"
    with contextlib.closing(sqlite3.connect(path)) as reading, contextlib.suppress(sqlite3.Error):
        for base_id, status in reading.execute(query):
            if not is_silent_about(base_id):
                return str(status)
    return ""


def _reading(root: Path) -> State:
    return State.open(root / "state" / "reconciler.db")


def _plan(root: Path, repository: State) -> tuple[Plan, Survey]:
    objects = ObjectStore(root / "state" / "objects")
    surveyor = Surveyor(root, repository, objects, can_host=True, previews=POSTERS)
    survey = surveyor.survey(load(root, "specs", prices=UNITS_PER_SECOND))
    return survey.plan(survey.desired.generations, survey.desired.invalid, whole=True), survey
