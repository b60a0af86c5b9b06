"""Scenarios drawn from a seed: the program dies several times, specs are edited in between, and the provider is hostile.

The provider stays inside the promise: it bills a repeated id, hides a new task for a while that is shorter than the
grace period, and lets creates, questions and downloads go wrong. After the last death one calm run has to finish.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from reconciler.workspace.files.plain import temporary_beside
from tests.support.killpoints import wish
from tests.support.lives import Command, Death, Mode, live, on_record
from tests.support.mishaps import CREATE_MISHAPS
from tests.support.money import assert_bought_once, assert_quiet, film, purchases
from tests.support.project import POSTERS, Project, wait_until
from tests.support.simulator import Simulator, simulator

GRACE, LAG = 3.0, 1.4
"""Real seconds: how long absence has to last, and how long the provider hides a new task."""
HOSTILE: Mapping[str, Any] = {"duplicate_ids": "bill_again", "query_lag_s": LAG, "concurrency": 4}
_UNKNOWN = ("404", "400", "empty", "null", "list")
_SETTINGS = {
    **POSTERS,
    "RECONCILER_ABSENCE_GRACE": str(GRACE),
    "RECONCILER_SETTLE_SECONDS": "0.2",
    "RECONCILER_RESYNC_SECONDS": "2",
}
_CALM = 60.0  # seconds that the calm run may take


@dataclass
class Played:
    """What came of a scenario."""

    kills: int = 0
    ended: int = 0
    """Lives that came to an end of their own before they could be killed."""
    states: Counter[str] = field(default_factory=Counter)
    """By status: kills that found a record in it."""
    twice: int = 0
    lost: int = 0
    calm_s: float = 0.0
    trouble: str = ""


@dataclass(frozen=True)
class Scenario:
    """Everything follows from these."""

    mode: Mode
    command: Command
    seed: int

    def play(self) -> Played:
        """Live, die, and finish in peace."""
        draw = random.Random(f"{self.mode}/{self.command}/{self.seed}")
        world = {**HOSTILE, "unknown_ids": draw.choice(_UNKNOWN)}
        with tempfile.TemporaryDirectory() as folder, simulator(**world) as sim:
            project = Project(Path(folder) / "project", {**sim.env(), **_SETTINGS})
            return self.play_in(project, sim, draw)

    def play_in(self, project: Project, sim: Simulator, draw: random.Random) -> Played:
        """Play in a fresh project, against a simulator that is this scenario's alone."""
        played, desk = Played(), Desk(project, draw)
        sim.faults(_faults(draw))
        desk.begin()
        for _ in range(draw.randint(2, 4)):
            killed = live(project, self.command, Death.drawn(self.mode, draw), draw)
            played.kills += killed
            played.ended += not killed
            if killed:
                played.states.update(set(on_record(project)))
            desk.edit()
        try:
            sim.faults([])
            began = time.monotonic()
            _calm(project, sim, self.command, desk)
            played.calm_s = time.monotonic() - began
            assert_quiet(project, sim)
            assert_home(project, sim)
        except AssertionError as error:
            said = (project.root.parent / "lives.txt").read_text()
            played.trouble = f"{error}\n--- the lives before\n{said}\n--- {sim.ledger()}"
        played.twice = sum(times > 1 for times in purchases(sim).values())
        played.lost = len(lost(project, sim))
        return played


class Desk:
    """Somebody who edits specs between two lives; `wanted` says how many takes of which prompt a spec asks for."""

    def __init__(self, project: Project, draw: random.Random) -> None:
        self.wanted: dict[str, tuple[str, int]] = {}
        self._project = project
        self._draw = draw
        self._versions = 0

    def begin(self) -> None:
        """Write the first two wishes, one of them with a local image."""
        wish(self._project, self._prompt())
        self.wanted["dance"] = ("version 1", 1)
        self._write("walk", self._prompt(), self._draw.randint(1, 2))

    def edit(self) -> None:
        """Change one thing, or nothing."""
        name = self._draw.choice(sorted(self.wanted))
        prompt, takes = self.wanted[name]
        match self._draw.choice(["nothing", "change", "back", "more", "new", "remove", "rename"]):
            case "change":
                self._write(name, self._prompt(), takes)
            case "back":
                self._write(name, "version 1", takes)
            case "more":
                self._write(name, prompt, 2)
            case "new":
                self._write(f"new{self._versions}", self._prompt(), 1)
            case "remove" if len(self.wanted) > 1:
                self._remove(name)
            case "rename":
                self._remove(name)
                self._write(f"was-{name}", prompt, takes)

    def _prompt(self) -> str:
        self._versions += 1
        return f"version {self._versions}"

    def _write(self, name: str, prompt: str, takes: int) -> None:
        self.wanted[name] = (prompt, takes)
        self._project.spec(f"{name}.yaml", prompt=prompt, takes=takes)

    def _remove(self, name: str) -> None:
        del self.wanted[name]
        (self._project.specs / f"{name}.yaml").unlink()


def _faults(draw: random.Random) -> list[dict[str, Any]]:
    """Return a plan under which many creates, some questions and the first downloads go wrong."""
    creates = [
        {
            "endpoint": "create",
            "when": {"calls": [number]},
            "effect": dict(CREATE_MISHAPS[draw.choice(sorted(CREATE_MISHAPS))]),
        }
        for number in range(1, 9)
        if draw.random() < 0.5
    ]
    questions = {"endpoint": "query", "when": {"every": 7}, "effect": {"status": 503}}
    downloads = {"endpoint": "result", "when": {"calls": [1, 3]}, "effect": {"cut": 1000}}
    return [*creates, questions, downloads]


def _calm(project: Project, sim: Simulator, command: Command, desk: Desk) -> None:
    """One run that nobody disturbs brings everything home."""
    if command == "apply":
        assert_bought_once(project, sim, project.apply())
        return
    with project.watching() as running:
        wait_until(lambda: _is_home(project, sim, desk), "every video", within=_CALM)
        running.process.terminate()
        done = running.ended(within=30)
    assert done.code == 0, done
    assert "Traceback" not in done.err, done
    assert_bought_once(project, sim, project.status())


def _is_home(project: Project, sim: Simulator, desk: Desk) -> bool:
    """Whether every wish is delivered, and what was bought for wishes of the past is kept too."""
    under_way = {"submitting", "submitted", "processing", "succeeded"}
    return (
        _delivered(project) == desk.wanted
        and not lost(project, sim)
        and under_way.isdisjoint(on_record(project))
    )


def _delivered(project: Project) -> dict[str, tuple[str, int]]:
    """Return what the receipts of present specs say is complete and wanted, in the words of `Desk.wanted`."""
    found = {}
    for path, entries in project.receipts().items():
        name = Path(path).name.removesuffix(".receipt.json")
        current = [one for one in entries if one.get("current", True)]
        if (project.specs / f"{name}.yaml").exists() and current:
            whole = {one["status"] for one in current} == {"complete"}
            found[name] = (current[0]["request"]["prompt"], len(current) if whole else 0)
    return found


def assert_home(project: Project, sim: Simulator) -> None:
    """Nothing was billed twice or lost, every receipt says what the ledger says, and no rubbish lies about."""
    assert set(purchases(sim).values()) <= {1}, "billed twice"
    assert not lost(project, sim), f"paid for, and not kept: {lost(project, sim)}"
    billed = {entry["task_id"]: entry for entry in sim.ledger()["entries"]}
    for entry in (one for entries in project.receipts().values() for one in entries):
        bill = billed[entry["task_id"]]
        assert bill["external_task_id"] == entry["external_task_id"], entry
        assert Decimal(bill["units"]) == Decimal(entry["units"]), entry
    rubbish = [*filter(Path.exists, _drafts(project)), *project.state.rglob("*.part")]
    assert not rubbish, f"left behind: {rubbish}"


def _drafts(project: Project) -> list[Path]:
    """Return where the files that stand beside the specs would be written before they get their names.

    The draft of a file that nobody wants any more may lie about: it is replaced when it is wanted again.
    """
    return [
        temporary_beside(path)
        for pattern in ("*.mp4", "*.receipt.json")
        for path in project.specs.rglob(pattern)
    ]


def lost(project: Project, sim: Simulator) -> list[str]:
    """Return the tasks that were paid for and whose film is not in the object store."""
    objects = project.state / "objects"
    kept = {path.parent.name + path.name for path in objects.glob("??/*")}
    tasks = [entry["task_id"] for entry in sim.ledger()["entries"] if entry["kind"] == "billed"]
    return [task for task in tasks if film(sim, task) not in kept]
