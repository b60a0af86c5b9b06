"""A project folder with a simulator, driven through the engine in this process: real files, SQLite and HTTP."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import httpx

from reconciler.core.diff import Assessment, Plan
from reconciler.core.motion_control import UNITS_PER_SECOND
from reconciler.core.progress import Ended
from reconciler.core.schedule import SECOND, Rules
from reconciler.core.states import Role
from reconciler.engine.observe.survey import Survey, Surveyor
from reconciler.engine.ports import Hosting, Options, Ports
from reconciler.engine.run.apply import Run, works_of
from reconciler.kling.downloads import MAX_RESULT, Downloader
from reconciler.kling.network import LOOPBACK
from reconciler.store.objects import ObjectStore
from reconciler.store.repository import Repository
from reconciler.store.values import Caps
from reconciler.workspace.read.loader import load
from tests.support.database import open_repository
from tests.support.ports import Told, client_at, wired
from tests.support.simulator import Simulator

SPEC = """\
image_url: https://example.com/{image}.png
video_url: https://example.com/dance.mp4
prompt: {prompt}
character_orientation: image
mode: std
"""


def now_ms() -> int:
    return int(time.time() * SECOND)


@dataclass
class World:
    """One project; `apply` may be called as often as wanted."""

    root: Path
    keys: Mapping[str, str]
    repository: Repository
    transport: httpx.AsyncBaseTransport | None = None
    told: Told = field(default_factory=Told)
    runs: int = 0
    hosting: Hosting | None = None
    previews: frozenset[Role] = frozenset()
    clock: Callable[[], int] = now_ms
    calendar: Callable[[], int] = now_ms
    max_result: int = MAX_RESULT  # bytes
    prices: Mapping[str, Mapping[str, Decimal]] = field(default_factory=lambda: UNITS_PER_SECOND)

    @property
    def objects(self) -> ObjectStore:
        return ObjectStore(self.root / "state" / "objects")

    @property
    def surveyor(self) -> Surveyor:
        return Surveyor(
            self.root, self.repository, self.objects, can_host=True, previews=self.previews
        )

    def write(self, name: str, text: str | None = None, **wish: str) -> Path:
        path = self.root / "specs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            SPEC.format(**{"image": "girl", "prompt": "waves", **wish}) if text is None else text
        )
        return path

    def lose_state(self) -> None:
        """The state folder is deleted, as somebody who cleans up would."""
        self.repository.close()
        shutil.rmtree(self.root / "state")
        (self.root / "state").mkdir()
        self.repository = open_repository(self.root / "state" / "reconciler.db")

    def ports(self, *, timeout: float = 2.0) -> AbstractAsyncContextManager[Ports]:
        """Give the ports of a run over this project; `timeout` bounds a request and a silence, s."""
        client = client_at(self.keys, timeout=timeout, transport=self.transport)
        downloader = Downloader(timeout=timeout, allowed=LOOPBACK, max_bytes=self.max_result)
        return wired(
            self.root,
            self.repository,
            self.told,
            (client, downloader),
            self.clock,
            self.calendar,
            self.hosting,
        )

    def survey(self) -> Survey:
        return self.surveyor.survey(load(self.root, "specs", prices=self.prices))

    def plan(self) -> Plan:
        survey = self.survey()
        return survey.plan(survey.desired.generations, survey.desired.invalid, whole=True)

    def only(self) -> Assessment:
        (item,) = self.plan().assessments
        return item

    def apply(
        self,
        *,
        caps: Caps | None = None,
        timeout: float = 20.0,
        until: Callable[[World], bool] | None = None,
        concurrency: int | None = None,
    ) -> Ended:
        """Apply everything; `until` stops the run as soon as it holds."""
        self.runs += 1
        options = Options(
            run_id=f"run-{self.runs}",
            rules=Rules(absence_grace=600, poll_interval=50),
            caps=caps or Caps(),
            max_concurrency=concurrency,
            patience=5 * SECOND,
            first_patience=2 * SECOND,
            previews=self.previews,
        )
        return asyncio.run(self._apply(options, timeout, until))

    async def _apply(
        self, options: Options, timeout: float, until: Callable[[World], bool] | None
    ) -> Ended:
        survey = self.survey()
        plan = survey.plan(survey.desired.generations, survey.desired.invalid, whole=True)
        stop = asyncio.Event()
        async with AsyncExitStack() as stack:
            ports = await stack.enter_async_context(self.ports())
            if until is not None:
                watching = asyncio.create_task(self._stop_when(until, stop))
                stack.callback(watching.cancel)
            works = works_of(plan, survey, whole=True)
            run = Run(ports, options, survey)
            return await run.apply(plan, works, stop, self.clock() + int(timeout * SECOND))

    async def _stop_when(self, until: Callable[[World], bool], stop: asyncio.Event) -> None:
        while not until(self):
            await asyncio.sleep(0.005)
        stop.set()


@contextmanager
def world(root: Path, simulator: Simulator) -> Iterator[World]:
    """Open a project in this folder against this simulator."""
    (root / "specs").mkdir(exist_ok=True)
    (root / "state").mkdir(exist_ok=True)
    repository = open_repository(root / "state" / "reconciler.db")
    opened = World(root, simulator.env(), repository)
    try:
        yield opened
    finally:
        opened.repository.close()  # which may be another one since the state was lost
