"""One working copy on one machine: its folder and its state, who works in it, and the processes that run there."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tests.simulation.author import Author
from tests.simulation.crash import Life
from tests.simulation.lives import Events
from tests.simulation.process import Process


@dataclass
class Running:
    """A process of the product while it lives."""

    life: Life
    process: Process
    work: str


@dataclass
class Machine:
    """A clone of the specs with a state of its own."""

    name: str
    """Empty for the only one."""
    root: Path
    wall_ns: Callable[[], int]
    draw: random.Random
    state: int = 0
    """Which state it has: no other machine's, and another number after each loss."""
    lost: list[float] = field(default_factory=list)
    """When its states or saved results were lost or forgotten, virtual seconds."""
    synced: dict[str, bytes] = field(default_factory=dict)
    """What was committed when it was last pushed and pulled."""
    running: list[Running] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.events = Events(self.draw)
        self._heard = [self.events]
        self.author = Author(self.root, self.wall_ns, self._mark)
        (self.root / "specs").mkdir(parents=True)

    @property
    def state_folder(self) -> Path:
        """Return where its state is."""
        return self.root / "state"

    @property
    def database(self) -> Path:
        """Return where the records of its state are."""
        return self.state_folder / "reconciler.db"

    def more_events(self) -> Events:
        """Return what a further process hears that runs beside another."""
        events = Events(self.draw)
        self._heard.append(events)
        return events

    def no_more(self, events: Events) -> None:
        """Let a process hear nothing more; the first one's are heard by whoever comes next."""
        events.wake = lambda: None
        if events is not self.events:
            self._heard.remove(events)

    def _mark(self, names: Iterable[str]) -> None:
        touched = list(names)
        for events in self._heard:
            events.mark(touched)


@dataclass
class Origin:
    """What two working copies have committed: what git would carry, without its history."""

    carries_receipts: bool
    files: dict[str, bytes] = field(default_factory=dict)

    def sync(self, machine: Machine) -> list[str]:
        """Push what changed there and pull what changed elsewhere, which wins; return the names that were pulled."""
        here, pulled = self._committed(machine), []
        for name in sorted({*here, *self.files, *machine.synced}):
            ours, before, theirs = here.get(name), machine.synced.get(name), self.files.get(name)
            if ours != before and theirs == before:
                self._keep(name, ours)
            elif ours != theirs:
                machine.author.pull(name, theirs)
                pulled.append(name)
        machine.synced = dict(self.files)
        return pulled

    def _keep(self, name: str, data: bytes | None) -> None:
        if data is None:
            self.files.pop(name, None)
        else:
            self.files[name] = data

    def _committed(self, machine: Machine) -> dict[str, bytes]:
        ends = (".yaml", ".png", *((".receipt.json",) if self.carries_receipts else ()))
        files = sorted((machine.root / "specs").rglob("*"))
        return {
            str(path.relative_to(machine.root)): path.read_bytes()
            for path in files
            if path.name.endswith(ends)
        }
