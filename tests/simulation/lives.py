"""What a process of the product consists of, on a wire: its ports, one `apply`, one daemon, and who hears of it."""

from __future__ import annotations

import asyncio
import hashlib
import io
import random
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path

import httpx
from PIL import Image

from reconciler.core.errors import HostingError, WorkspaceError
from reconciler.core.media_rules import Medium, Source
from reconciler.core.motion_control import UNITS_PER_SECOND
from reconciler.core.progress import Ended, Topic
from reconciler.core.states import Record, Role
from reconciler.engine.buy.sender import Sender
from reconciler.engine.observe.survey import Surveyor
from reconciler.engine.ports import Options, Ports, Reporter
from reconciler.engine.run.apply import Run, works_of
from reconciler.store.file_cache import FileCache
from reconciler.store.objects import Partial
from reconciler.store.repository import Repository
from reconciler.workspace.read.loader import load
from tests.simulation.loop import running
from tests.simulation.world import client_of, downloader_of
from tests.support.ports import wired


@dataclass
class Ear:
    """Hears what a reporter is told, and counts it."""

    said: Counter[str] = field(default_factory=Counter)
    mistakes: list[str] = field(default_factory=list)
    """What the product itself calls its own mistake."""

    def changed(self, record: Record) -> None:
        self.said[f"became {record.status}"] += 1
        self._note(record.reason)

    def held(self, record: Record, reason: str) -> None:
        self.said["held"] += 1
        self._note(reason)

    def say(self, message: str, topic: Topic = Topic.OTHER) -> None:
        self.said[message.split(":", maxsplit=1)[0][:40]] += 1
        self._note(message)

    def _note(self, sentence: str) -> None:
        if "a mistake in reconciler itself" in sentence:
            self.mistakes.append(sentence)


@dataclass
class Events:
    """Tells of changed names as a watcher would, and now and then forgets one."""

    draw: random.Random
    wake: Callable[[], None] = lambda: None
    is_notified: bool = True
    _dirty: set[str] = field(default_factory=set)

    def mark(self, names: Iterable[str]) -> None:
        self._dirty |= {name for name in names if self.draw.random() > 0.05}
        self.wake()

    def take(self) -> frozenset[str]:
        dirty, self._dirty = frozenset(self._dirty), set()
        return dirty

    def watch_also(self, folders: Iterable[str]) -> None:
        pass

    def revive(self) -> None:
        pass


@dataclass
class Shelf:
    """A media store that anybody can read, and that now and then takes nothing."""

    draw: random.Random
    is_calm: bool = False
    kept: set[str] = field(default_factory=set)

    async def publish(self, sha256: str, path: Path, suffix: str) -> str:
        """Keep a file under its digest; raises HostingError, WorkspaceError as the stores do."""
        await asyncio.sleep(self.draw.choice((0.0, 0.5, 20.0)))
        if not self.is_calm and self.draw.random() < 0.2:
            raise HostingError("the media store takes nothing at the moment")
        if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
            raise WorkspaceError(f"`{path.name}` is not what it was")
        self.kept.add(sha256)
        return f"https://media.example.com/{sha256}{suffix}"


async def make(
    self: Sender, medium: Medium, source: Source, file: BufferedReader, partial: Partial
) -> None:
    """Encode as a process would, in virtual time: each time it comes to other bytes."""
    partial.restart("")
    await asyncio.sleep(running().time() % 7)
    with Image.open(file) as picture:
        made = io.BytesIO()
        picture.convert("RGB").save(made, "JPEG", comment=f"{running().time()}".encode())
    partial.write(made.getvalue())


POSTERS = frozenset({Role.POSTER})
"""What every life makes of a video, as the program does where nothing else is set."""


def ports_on(
    wire: httpx.AsyncBaseTransport,
    root: Path,
    repository: Repository,
    report: Reporter,
    now: Callable[[], int],
    wall: Callable[[], float] | None = None,
    shelf: Shelf | None = None,
) -> AbstractAsyncContextManager[Ports]:
    """Give the engine's ports on a wire; `now` is the run's clock (ms), `wall` the machine's (s; default: the loop's)."""
    reach = client_of(wire, now=wall), downloader_of(wire)
    wall = wall or running().wall
    return wired(root, repository, report, reach, now, lambda: int(wall() * 1000), shelf)


async def apply_all(
    ports: Ports,
    options: Options,
    stop: asyncio.Event,
    *,
    seconds: float,
    cache: FileCache | None = None,
) -> Ended:
    """Plan and apply the whole folder, for so many seconds at most, as the command does."""
    desired = load(ports.root, "specs", prices=UNITS_PER_SECOND, cache=cache)
    surveyor = Surveyor(
        ports.root, ports.repository, ports.objects, can_host=True, previews=options.previews
    )
    survey = surveyor.survey(desired)
    plan = survey.plan(survey.desired.generations, survey.desired.invalid, whole=True)
    works = works_of(plan, survey, whole=True)
    deadline = ports.now() + int(seconds * 1000)
    return await Run(ports, options, survey).apply(plan, works, stop, deadline)
