"""Weeks of a daemon in virtual time: somebody edits, the network and the provider fail, the process is restarted.

    python -m tests.simulation.soak --days 30 --generations 5000 --seed 1

prints a row for every virtual day (what the process holds: memory, descriptors) and, at the end, what was billed
twice and what was lost: nothing, or the command fails. The same seed is the same history.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from reconciler.core.identity import split_attempt
from reconciler.core.motion_control import UNITS_PER_SECOND
from reconciler.core.schedule import SECOND
from reconciler.core.states import Status
from reconciler.engine.observe.survey import Surveyor
from reconciler.engine.ports import Options
from reconciler.engine.run.daemon import Daemon, Duties, Pace
from reconciler.simulator.plans import parse_plan
from reconciler.store.objects import ObjectStore
from reconciler.store.repository import Repository
from reconciler.workspace.index.spec_index import SpecIndex
from reconciler.workspace.read.loader import load
from tests.simulation.lives import Ear, Events, ports_on
from tests.simulation.loop import run, running
from tests.simulation.wire import Wire
from tests.simulation.world import START, account
from tests.support.database import open_repository

DAY = 24 * 3600
SPEC = """\
image_url: https://example.com/girl.png
video_url: https://example.com/dance.mp4
prompt: {prompt}
character_orientation: image
mode: std
takes: {takes}
"""
TROUBLE: tuple[dict[str, Any], ...] = (
    {"endpoint": "create", "when": {"probability": 0.02, "seed": 1}, "effect": {"drop": "after"}},
    {"endpoint": "create", "when": {"probability": 0.02, "seed": 2}, "effect": {"status": 502}},
    {
        "endpoint": "create",
        "when": {"probability": 0.02, "seed": 3},
        "effect": {"fail": "bad luck"},
    },
    {"endpoint": "query", "when": {"probability": 0.01, "seed": 4}, "effect": {"garbage": True}},
    {"endpoint": "list", "when": {"probability": 0.01, "seed": 5}, "effect": {"status": 503}},
    {"endpoint": "result", "when": {"probability": 0.05, "seed": 6}, "effect": {"cut": 200}},
)
BROKE: tuple[dict[str, Any], ...] = ({"endpoint": "create", "effect": {"refuse": 1102}},)


@dataclass
class User:
    """Somebody who works in the folder: each act changes files as an editor or git does."""

    root: Path
    draw: random.Random
    events: Events
    left: int  # how many more generations to ask for
    past: dict[str, list[str]] = field(default_factory=dict)  # spec -> texts it had
    branch: dict[str, str] = field(default_factory=dict)  # spec -> text, on the other branch
    acts: Counter[str] = field(default_factory=Counter)

    def act(self) -> None:
        weights = {
            self.add: 5,
            self.change: 6,
            self.revert: 2,
            self.remove: 4,
            self.suspend: 1,
            self.lose_an_output: 1,
            self.switch_branch: 1,
            self.type_slowly: 1,
        }
        act = self.draw.choices(list(weights), list(weights.values()))[0]
        act()
        self.acts[act.__name__] += 1

    def add(self) -> None:
        if self.left > 0:
            number = sum(self.acts.values())
            self._write(f"specs/{number % 20:02}/wish{number:05}.yaml", self._new_text())

    def change(self) -> None:
        if (spec := self._some()) and self.left > 0:
            self._write(spec, self._new_text())

    def revert(self) -> None:
        if (spec := self._some()) and self.past.get(spec):
            self._write(spec, self.draw.choice(self.past[spec]))

    def remove(self) -> None:
        specs = self._specs()
        if len(specs) > 60:
            for spec in self.draw.sample(specs, 5):
                self._unlink(spec)

    def suspend(self) -> None:
        if spec := self._some():
            text = (self.root / spec).read_text()
            suspended = "suspend: true\n"
            self._write(
                spec, text.replace(suspended, "") if suspended in text else text + suspended
            )

    def lose_an_output(self) -> None:
        films = sorted((self.root / "specs").rglob("*.mp4"))
        if films:
            film = self.draw.choice(films)
            film.unlink()
            self.events.mark([str(film.relative_to(self.root))])

    def switch_branch(self) -> None:
        """Every spec and receipt becomes what it is on the other branch; videos are not committed."""
        here = {name: (self.root / name).read_text() for name in self._committed()}
        for name in sorted(here.keys() - self.branch.keys()):
            self._unlink(name)
        for name, text in sorted(self.branch.items()):
            if here.get(name) != text:
                self._write(name, text)
        self.branch = here

    def type_slowly(self) -> None:
        """Saves that are never quiet for long; only the last is meant."""
        if (spec := self._some()) and self.left > 0:
            meant = self._new_text()
            for cut in (-30, -20, -10):
                self._write(spec, meant[:cut])
            self._write(spec, meant)

    def _new_text(self) -> str:
        takes = self.draw.choices([1, 2, 3, 10], [6, 2, 2, 1])[0]
        self.left -= takes
        return SPEC.format(prompt=f"wish number {self.left} of {self.draw.random()}", takes=takes)

    def _specs(self) -> list[str]:
        found = (self.root / "specs").rglob("*.yaml")
        return sorted(str(path.relative_to(self.root)) for path in found)

    def _committed(self) -> list[str]:
        receipts = (self.root / "specs").rglob("*.receipt.json")
        return sorted([*self._specs(), *(str(path.relative_to(self.root)) for path in receipts)])

    def _some(self) -> str:
        specs = self._specs()
        return self.draw.choice(specs) if specs else ""

    def _write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and name.endswith(".yaml"):
            self.past.setdefault(name, []).append(path.read_text())
            del self.past[name][:-3]
        path.write_text(text)
        self.events.mark([name])

    def _unlink(self, name: str) -> None:
        (self.root / name).unlink(missing_ok=True)
        self.events.mark([name])


@dataclass
class Soak:
    """One history."""

    folder: Path
    days: float
    generations: int
    seed: int
    life: float = 30.0  # hours that a process lives at most
    tell: Callable[[str], None] = lambda _: None
    restarts: Counter[str] = field(default_factory=Counter)
    outages: Counter[str] = field(default_factory=Counter)
    ear: Ear = field(default_factory=Ear)

    def run(self) -> list[str]:
        """Live through it; return what went wrong."""
        return run(self._story(), start=START)

    async def _story(self) -> list[str]:
        self._draw = random.Random(self.seed)
        self._wire = Wire(seed=str(self.seed))
        self._events = Events(random.Random(self.seed + 1))
        root = self.folder / "project"
        (root / "specs").mkdir(parents=True)
        (root / "state").mkdir()
        self._user = User(root, random.Random(self.seed + 2), self._events, self.generations)
        config: dict[str, Any] = {
            "duplicate_ids": "bill_again",
            "query_lag_s": 5.0,
            "concurrency": 5,
            "pack_units": Decimal(10_000_000),
            "faults": TROUBLE,
        }
        async with account(self.folder / "account", self._wire, **config) as provider:
            self._provider = provider
            others = [
                asyncio.create_task(story, name=name)
                for name, story in (
                    ("user", self._work()),
                    ("weather", self._weather()),
                    ("diary", self._diary()),
                )
            ]
            while running().time() < self.days * DAY:
                await self._live(root, self._draw.uniform(0.2, self.life) * 3600)
            for other in others:
                other.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            self._wire.down, provider.plan = "", parse_plan([])
            await self._live(root, 12 * 3600.0, calmly=True)
            return self._judge(root)

    async def _live(self, root: Path, seconds: float, *, calmly: bool = False) -> None:
        """Let one process live so long, then end it."""
        repository = open_repository(root / "state" / "reconciler.db")
        try:
            async with ports_on(self._wire, root, repository, self.ear, running().wall_ms) as ports:
                options = Options(f"run-{sum(self.restarts.values())}", enduring=True)
                index = SpecIndex(root, "specs", prices=UNITS_PER_SECOND)
                daemon = Daemon(ports, options, Duties(index, self._events, Pace(tick=5 * SECOND)))
                self._events.wake = daemon.wake
                stop = asyncio.Event()
                life = asyncio.create_task(daemon.run(stop, begun=lambda: None), name="daemon")
                await asyncio.wait([life], timeout=seconds)
                if not life.done():
                    asked = calmly or self._draw.random() < 0.5
                    self.restarts["asked" if asked else "cut off"] += 1
                    stop.set() if asked else life.cancel()
                await asyncio.gather(life, return_exceptions=not calmly)
        finally:
            self._events.wake = lambda: None
            repository.close()

    async def _work(self) -> None:
        """As many acts as it takes to ask for everything in the given time."""
        pause = self.days * DAY / max(self.generations / 1.1, 1)
        while True:
            await asyncio.sleep(self._draw.expovariate(1 / pause))
            self._user.act()

    async def _weather(self) -> None:
        while True:
            await asyncio.sleep(self._draw.uniform(0.5, 20) * 3600)
            kind = self._draw.choice(["refused", "timeout", "broke"])
            self.outages[kind] += 1
            if kind == "broke":
                self._provider.plan = parse_plan([*BROKE, *TROUBLE])
            else:
                self._wire.down = kind  # type: ignore[assignment]
            await asyncio.sleep(self._draw.uniform(1, 90) * 60)
            self._wire.down = ""
            self._provider.plan = parse_plan(list(TROUBLE))

    async def _diary(self) -> None:
        self.tell("day  billed  generations asked  specs  memory MiB  descriptors  database KiB")
        day = 0
        while True:
            billed = sum(self._billed().values())
            asked = self.generations - self._user.left
            database = self.folder / "project" / "state" / "reconciler.db"
            size = database.stat().st_size // 1024 if database.exists() else 0
            specs = len(self._user._specs())
            self.tell(
                f"{day:>3}  {billed:>6}  {asked:>17}  {specs:>5}  {memory():>10}  {descriptors():>11}  {size:>12}"
            )
            await asyncio.sleep(DAY)
            day += 1

    def _billed(self) -> dict[str, int]:
        billed: Any = self._provider.ledger.report()["billed"]
        return dict(billed)

    def _judge(self, root: Path) -> list[str]:
        wrong = [f"the wire saw {error!r}" for error in self._wire.crashes]
        billed = self._billed()
        wrong += [f"{name} was billed {count} times" for name, count in billed.items() if count > 1]
        repository = open_repository(root / "state" / "reconciler.db")
        try:
            wrong += self._lost(repository, root, billed)
            surveyor = Surveyor(root, repository, ObjectStore(root / "state" / "objects"), True)
            survey = surveyor.survey(load(root, "specs", prices=UNITS_PER_SECOND))
            plan = survey.plan(survey.desired.generations, survey.desired.invalid, whole=True)
            wrong += _unsettled(plan.summary())
        finally:
            repository.close()
        return wrong

    def _lost(self, repository: Repository, root: Path, billed: dict[str, int]) -> list[str]:
        """Everything that was paid for is saved, and its bytes are those of its own task."""
        objects, wrong = ObjectStore(root / "state" / "objects"), []
        for name in billed:
            attempts = repository.attempts(split_attempt(name)[0])
            record = next((one for one in attempts if one.external_task_id == name), None)
            if record is None or record.task_id is None:
                wrong.append(f"{name} was billed and is not on record")
            elif record.status is Status.COMPLETE:
                (result,) = record.results
                if record.task_id.encode() not in objects.path(result.sha256).read_bytes():
                    wrong.append(f"{name} has another task's bytes")
            elif record.status is not Status.FAILED:
                wrong.append(f"{name} was billed and is {record.status}: {record.reason}")
        return wrong


def _unsettled(summary: dict[str, int]) -> list[str]:
    """In the end there is nothing to do: wishes are kept, failed or suspended; half-typed specs are the user's."""
    expected = {"keep", "failed", "blocked", "orphan", "invalid"}
    return [f"{count} {word}" for word, count in summary.items() if word not in expected]


def memory() -> int:
    """Return the process's resident memory, MiB."""
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * 4096 // 2**20


def descriptors() -> int:
    """Return how many files the process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    """Run one history and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=float, default=30)
    parser.add_argument("--generations", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--life", type=float, default=30, help="hours of a process, at most")
    parser.add_argument("--keep", action="store_true", help="leave the folder behind")
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    soak = Soak(folder, chosen.days, chosen.generations, chosen.seed, chosen.life, _print)
    try:
        wrong = soak.run()
    finally:
        if not chosen.keep:
            shutil.rmtree(folder)
    _print(f"acts: {dict(soak._user.acts)}")
    _print(f"restarts: {dict(soak.restarts)}; outages: {dict(soak.outages)}")
    _print(f"said: {dict(soak.ear.said.most_common(20))}")
    _print(f"billed: {len(soak._billed())} tasks")
    for sentence in wrong:
        _print(f"WRONG: {sentence}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
