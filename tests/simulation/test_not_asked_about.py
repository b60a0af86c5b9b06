"""Some generations cannot be asked about, the rest can: those are held with a sentence, and the others are bought.

The whole engine in virtual time; a firewall stands between it and the provider, and decides request by request.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest

from reconciler.core.errors import ReconcilerError
from reconciler.core.motion_control import UNITS_PER_SECOND
from reconciler.core.progress import Ended
from reconciler.core.schedule import SECOND
from reconciler.core.states import Reply, Status, Task
from reconciler.engine.ask.answers import Answers
from reconciler.engine.ask.poll import refreshed
from reconciler.engine.ports import Options, Ports
from reconciler.engine.ports import Provider as Provided
from reconciler.engine.run.daemon import Daemon, Duties, Pace
from reconciler.kling.errors import ProviderError
from reconciler.simulator.provider import Provider
from reconciler.store.repository import Repository
from reconciler.workspace.index.spec_index import SpecIndex
from reconciler.workspace.read.loader import load
from tests.simulation.lives import Events, apply_all, ports_on
from tests.simulation.loop import run, running
from tests.simulation.wire import Wire
from tests.simulation.world import START, account
from tests.support.database import open_repository
from tests.support.ports import Told
from tests.support.project import picture

SPEC = """\
image_url: https://example.com/girl.png
video_url: https://example.com/dance.mp4
character_orientation: image
mode: std
external_task_id: {name}
"""
PAGE = httpx.Response(502, html="<html>blocked by policy</html>")
DEAF = ("a1", "a2")
"""Generations that cannot be asked about; they come first in every order."""
WELL = ("b1", "b2", "b3", "b4")


def refusal(code: int, status: int = 400) -> httpx.Response:
    return httpx.Response(status, json={"code": code, "message": "no", "request_id": "r"})


def again(answer: httpx.Response) -> httpx.Response:
    return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)


@dataclass
class Firewall(httpx.AsyncBaseTransport):
    """Answers in the provider's place what `rule` says of (method, last part of the path); None lets it through."""

    behind: httpx.AsyncBaseTransport
    rule: Callable[[str, str], httpx.Response | float | None] = lambda _, __: None
    asked: list[tuple[float, str, str]] = field(default_factory=list)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        name = request.url.path.rsplit("/", 1)[-1]
        self.asked.append((running().time(), request.method, name))
        answer = self.rule(request.method, name)
        if isinstance(answer, float):
            await asyncio.sleep(answer)
            raise httpx.ReadTimeout("")
        return await self.behind.handle_async_request(request) if answer is None else again(answer)


@dataclass
class Scene:
    """One folder, one account, one firewall."""

    root: Path
    provider: Provider
    wall: Firewall
    repository: Repository
    ports: Ports
    told: Told
    events: Events = field(default_factory=lambda: Events(random.Random(1)))

    def name_of(self, task_or_name: str) -> str:
        """Return the generation that a request names by either of its ids."""
        records = self.repository.records().values()
        return next((one.base_id for one in records if one.task_id == task_or_name), task_or_name)

    def block(self, names: tuple[str, ...], answer: httpx.Response | float) -> None:
        """Answer every question about these generations like this."""
        self.wall.rule = lambda method, name: (
            answer if method == "GET" and self.name_of(name) in names else None
        )

    def write(self, *names: str) -> None:
        for name in names:
            (self.root / "specs" / f"{name}.yaml").write_text(SPEC.format(name=name))

    @property
    def billed(self) -> list[str]:
        bills: Any = self.provider.ledger.report()["billed"]
        assert set(bills.values()) <= {1}, bills
        return sorted(bills)

    @property
    def statuses(self) -> dict[str, Status]:
        return {base: one.status for base, one in self.repository.records().items()}

    async def apply(self, *, limit: int | None = None, seconds: float = 3600) -> Ended:
        options = Options("run", max_concurrency=limit)
        return await apply_all(self.ports, options, asyncio.Event(), seconds=seconds)

    @asynccontextmanager
    async def watching(self, *, limit: int | None = None) -> AsyncIterator[Daemon]:
        index = SpecIndex(self.root, "specs", prices=UNITS_PER_SECOND)
        duties = Duties(index, self.events, Pace(settle=0, tick=30 * SECOND))
        daemon = Daemon(self.ports, Options("run", max_concurrency=limit, enduring=True), duties)
        stop = asyncio.Event()
        life = asyncio.create_task(daemon.run(stop, begun=lambda: None))
        try:
            yield daemon
        finally:
            stop.set()
            await life


@asynccontextmanager
async def scene(folder: Path, **config: Any) -> AsyncIterator[Scene]:
    root = folder / "project"
    (root / "specs").mkdir(parents=True)
    (root / "state").mkdir()
    wire, told = Wire(seed="held"), Told()
    wall = Firewall(wire)
    repository = open_repository(root / "state" / "reconciler.db")
    try:
        async with (
            account(folder / "account", wire, **config) as provider,
            ports_on(wall, root, repository, told, running().wall_ms) as ports,
        ):
            yield Scene(root, provider, wall, repository, ports, told)
    finally:
        repository.close()


BAD: Mapping[str, httpx.Response | float] = {
    "a firewall's page": PAGE,
    "a 404 page": httpx.Response(404, html="<html>not found</html>"),
    "a refused query, 1200": refusal(1200),
    "too fast for ever, 1302": refusal(1302, 429),
    "an internal error, 5000": refusal(5000, 500),
    "no answer at all": 60.0,
}


@pytest.mark.parametrize("limit", [None, 1])
@pytest.mark.parametrize("how", BAD)
def test_apply_buys_the_others_and_says_of_each_that_it_cannot_be_asked_about(
    tmp_path: Path, how: str, limit: int | None
) -> None:
    """Two of six: four are bought and saved, the two are held with a sentence, nothing is created for them; it settles."""

    async def story() -> None:
        async with scene(tmp_path) as it:
            it.write(*DEAF, *WELL)
            it.block(DEAF, BAD[how])
            assert await it.apply(limit=limit) is Ended.SETTLED
            assert it.billed == list(WELL)
            assert {it.statuses[name] for name in WELL} == {Status.COMPLETE}
            holds = it.repository.holds()
            assert set(holds) == set(DEAF)
            assert all("cannot be asked about" in reason for reason in holds.values())

    run(story(), start=START)


@pytest.mark.parametrize("how", ["a firewall's page", "a refused query, 1200", "no answer at all"])
def test_watch_buys_the_others_soon_and_these_when_they_can_be_asked_about(
    tmp_path: Path, how: str
) -> None:
    """With one slot: who cannot be asked about holds none, is said, asked seldom, and bought once that is over."""

    async def story() -> None:
        async with scene(tmp_path, task_s=20) as it:
            it.write(*DEAF, *WELL)
            it.block(DEAF, BAD[how])
            async with it.watching(limit=1) as daemon:
                await asyncio.sleep(400)
                assert it.billed == list(WELL)
                assert all("cannot be asked about" in daemon.obstacle(name) for name in DEAF)
                assert not daemon.turns.account.silence, "the provider answers"
                since = running().time()
                await asyncio.sleep(3600)
                asked = [at for at, _, name in it.wall.asked if name in DEAF and at > since]
                assert 2 <= len(asked) <= 40
                it.wall.rule = lambda _, __: None
                await asyncio.sleep(900)
                assert it.billed == sorted((*DEAF, *WELL))
                assert not any(daemon.obstacle(name) for name in DEAF)

    run(story(), start=START)


def test_one_generation_alone_that_cannot_be_asked_about_is_not_taken_for_the_provider(
    tmp_path: Path,
) -> None:
    """Where nobody else asks anything, something else is asked before the network is blamed."""

    async def story() -> None:
        async with scene(tmp_path) as it:
            it.write("a1")
            it.block(("a1",), PAGE)
            assert await it.apply() is Ended.SETTLED
            assert "cannot be asked about" in it.repository.holds()["a1"]
            assert it.billed == []

    run(story(), start=START)


@pytest.mark.parametrize("answer", [PAGE, 60.0], ids=["pages", "silence"])
def test_the_provider_is_unreachable_when_nothing_is_answered(
    tmp_path: Path, answer: httpx.Response | float
) -> None:
    """Nobody is held for an outage: the run ends with one sentence, soon where nothing was ever answered."""

    async def story() -> None:
        async with scene(tmp_path) as it:
            it.write(*DEAF, *WELL)
            it.wall.rule = lambda _, __: answer
            began = running().time()
            with pytest.raises(ReconcilerError, match="gave no readable answer"):
                await it.apply()
            assert running().time() - began < 90
            assert it.repository.holds() == {}

    run(story(), start=START)


def test_an_outage_that_begins_later_is_ridden_out_and_holds_nobody(tmp_path: Path) -> None:
    """Four minutes without any answer in the middle of a run: nothing is held, all is bought."""

    async def story() -> None:
        async with scene(tmp_path, task_s=60) as it:
            it.write(*DEAF, *WELL)
            it.wall.rule = lambda _, __: PAGE if 30 < running().time() < 270 else None
            assert await it.apply(limit=1) is Ended.SETTLED
            assert it.billed == sorted((*DEAF, *WELL))
            assert it.told.holds == {}

    run(story(), start=START)


@pytest.mark.parametrize(
    ("how", "many"),
    [
        ("a firewall's page", False),
        ("a refused query, 1200", False),
        ("no answer at all", False),
        ("a firewall's page", True),
        ("a refused query, 1200", True),
    ],
)
def test_a_task_in_flight_that_cannot_be_asked_about_stops_no_other(
    tmp_path: Path, how: str, many: bool
) -> None:
    """Its poll is refused for ever: the others are saved, it is held with its sentence, and `apply` settles."""

    async def story() -> None:
        names = (*WELL, *(f"c{number}" for number in range(8))) if many else WELL
        async with scene(tmp_path, task_s=30, concurrency=20) as it:
            it.write("a1", *names)

            def rule(method: str, name: str) -> httpx.Response | float | None:
                flies = it.statuses.get("a1") in {Status.SUBMITTED, Status.PROCESSING}
                hidden = name == "motion-control" and many and method == "GET"
                about = it.name_of(name) == "a1" or hidden
                return BAD[how] if flies and about and method == "GET" else None

            it.wall.rule = rule
            assert await it.apply(limit=20) is Ended.SETTLED
            assert it.billed == sorted(("a1", *names))
            assert {it.statuses[name] for name in names} == {Status.COMPLETE}
            assert "cannot be asked about" in it.repository.holds()["a1"]

    run(story(), start=START)


@pytest.mark.parametrize(
    "answer", [PAGE, refusal(1200), refusal(1203, 404)], ids=["page", "1200", "1203"]
)
def test_a_task_of_which_nothing_is_heard_does_not_keep_the_only_slot_for_ever(
    tmp_path: Path, answer: httpx.Response
) -> None:
    """`watch` with one slot: the task in flight cannot be seen any more; the others are bought, and it when it is back."""

    async def story() -> None:
        async with scene(tmp_path, task_s=20) as it:
            it.write("a1")
            async with it.watching(limit=1):
                await asyncio.sleep(10)
                assert it.billed == ["a1"]
                it.block(("a1",), answer)
                it.write(*WELL)
                it.events.mark(f"specs/{name}.yaml" for name in WELL)
                await asyncio.sleep(900)
                assert it.billed == ["a1", *WELL]
                it.wall.rule = lambda _, __: None
                await asyncio.sleep(900)
                assert set(it.statuses.values()) == {Status.COMPLETE}

    run(story(), start=START)


def test_a_create_in_doubt_that_cannot_be_asked_about_is_never_sent_again_and_stops_no_other(
    tmp_path: Path,
) -> None:
    """The answer to a create is lost, and the question is refused (1200): no license to create, and no end of the line."""

    async def story() -> None:
        lost = {
            "endpoint": "create",
            "match": {"external_task_id": "a1"},
            "effect": {"drop": "after"},
        }
        async with scene(tmp_path, task_s=20, faults=(lost,), duplicate_ids="bill_again") as it:
            it.write("a1", *WELL)

            def rule(method: str, name: str) -> httpx.Response | None:
                doubt = it.statuses.get("a1") is Status.SUBMITTING
                return refusal(1200) if method == "GET" and name == "a1" and doubt else None

            it.wall.rule = rule
            assert await it.apply(limit=1) is Ended.SETTLED
            assert it.billed == ["a1", *WELL]
            assert it.statuses["a1"] is Status.SUBMITTING
            assert "1200" in it.repository.holds()["a1"]
            it.wall.rule = lambda _, __: None
            assert await it.apply(limit=1) is Ended.SETTLED
            assert set(it.statuses.values()) == {Status.COMPLETE}
            assert it.billed == ["a1", *WELL]

    run(story(), start=START)


def test_results_whose_host_is_down_do_not_make_the_provider_unreachable(tmp_path: Path) -> None:
    """What cannot be fetched is held as bought and not saved; the run settles, and the next one saves it."""

    async def story() -> None:
        async with scene(tmp_path, task_s=20) as it:
            it.write(*WELL)
            it.wall.rule = lambda _, name: PAGE if name.endswith(".mp4") else None
            assert await it.apply() is Ended.SETTLED
            assert it.billed == list(WELL)
            assert all("could not be saved yet" in why for why in it.repository.holds().values())
            assert set(it.repository.holds()) == set(WELL)

    run(story(), start=START)


def test_creates_that_break_down_hold_back_nobody_that_was_not_sent(tmp_path: Path) -> None:
    """Every create ends with a 502 and no task: each is in doubt by itself, all are tried, and none is told as a network's fault."""

    async def story() -> None:
        async with scene(tmp_path) as it:
            it.write("a1", "a2", "a3")
            it.wall.rule = lambda method, _: PAGE if method == "POST" else None
            assert await it.apply(limit=1) is Ended.SETTLED
            assert it.billed == []
            assert set(it.repository.holds()) == {"a1", "a2", "a3"}
            assert all("no readable answer" in why for why in it.repository.holds().values())

    run(story(), start=START)


def test_who_tries_for_the_account_and_cannot_be_asked_about_lets_another_try(
    tmp_path: Path,
) -> None:
    """The account was out of units, and is not any more: two that cannot be asked about do not keep it closed."""

    async def story() -> None:
        async with scene(tmp_path, task_s=20) as it:
            it.write(*DEAF, *WELL)
            paid = False

            def rule(method: str, name: str) -> httpx.Response | None:
                if method == "POST":
                    return None if paid else refusal(1102, 429)
                return PAGE if name in DEAF else None

            it.wall.rule = rule
            async with it.watching(limit=1) as daemon:
                await asyncio.sleep(600)
                assert daemon.turns.account.pause.reason
                paid = True
                await asyncio.sleep(1500)
                assert not daemon.turns.account.pause.reason
                assert it.billed == list(WELL)

    run(story(), start=START)


class Slow:
    """A media store whose upload of one film takes long."""

    def __init__(self, digest: str, seconds: float) -> None:
        self._digest, self._seconds = digest, seconds

    async def publish(self, sha256: str, path: Path, suffix: str) -> str:
        if self._digest in {"", sha256}:
            await asyncio.sleep(self._seconds)
        return f"https://example.com/{sha256}{suffix}"


@pytest.mark.parametrize("upload_s", [30, 1800])
def test_a_long_upload_holds_no_slot(tmp_path: Path, upload_s: int) -> None:
    """With one slot, preparing one generation delays the others by seconds; then it is bought as well, in its turn."""

    async def story() -> None:
        async with scene(tmp_path, task_s=20) as it:
            it.write(*WELL)
            picture(it.root / "specs" / "girl.png")
            slow = SPEC.format(name="a1").replace("https://example.com/girl.png", "girl.png")
            (it.root / "specs" / "a1.yaml").write_text(slow)
            it.ports = replace(it.ports, hosting=Slow("", upload_s))
            ended = asyncio.create_task(_with_hosted_images(it))
            await asyncio.sleep(300)
            assert set(it.billed) >= set(WELL)
            assert await ended is Ended.SETTLED
            assert it.billed == ["a1", *WELL]
            sent = [at for at, method, _ in it.wall.asked if method == "POST"]
            assert all(later - one >= 20 for one, later in pairwise(sent)), "one at a time"

    run(story(), start=START)


async def _with_hosted_images(it: Scene) -> Ended:
    options = Options("run", max_concurrency=1, host_images=True)
    return await apply_all(it.ports, options, asyncio.Event(), seconds=7200)


def test_held_ones_do_not_come_before_those_that_wait(tmp_path: Path) -> None:
    """Ten that cannot be asked about (each question hangs) and ten that can, one slot: the ten go on at their pace."""

    async def story() -> None:
        async with scene(tmp_path, task_s=10) as it:
            deaf, well = [f"a{n}" for n in range(10)], [f"b{n}" for n in range(10)]
            it.write(*deaf, *well)
            it.block(tuple(deaf), 60.0)
            async with it.watching(limit=1):
                await asyncio.sleep(900)
                assert it.billed == well

    run(story(), start=START)


def test_one_that_was_held_comes_after_those_that_waited_meanwhile(tmp_path: Path) -> None:
    """One slot, tasks of a minute: who could not be asked about at first is sent after the four that could."""

    async def story() -> None:
        async with scene(tmp_path, task_s=60) as it:
            it.write("a1", *WELL)
            it.wall.rule = lambda _, name: PAGE if name == "a1" and running().time() < 20 else None
            async with it.watching(limit=1):
                await asyncio.sleep(900)
            sent = sorted(it.repository.records().values(), key=lambda one: one.intent_at or 0)
            assert [one.base_id for one in sent] == [*WELL, "a1"]

    run(story(), start=START)


def test_a_refused_slot_with_nothing_in_flight_is_waited_for(tmp_path: Path) -> None:
    """Another machine has all slots (1303): `apply` does not settle before it could send its only wish."""

    async def story() -> None:
        full = {"endpoint": "create", "when": {"first": 3}, "effect": {"refuse": 1303}}
        async with scene(tmp_path, faults=(full,)) as it:
            it.write("a1")
            assert await it.apply() is Ended.SETTLED
            assert it.billed == ["a1"]

    run(story(), start=START)


@dataclass
class Counting:
    """A provider that remembers how many questions were under way at once."""

    behind: Provided
    under_way: int = 0
    most: int = 0

    async def create(self, body: Mapping[str, object], *, endpoint: str) -> Reply:
        return await self.behind.create(body, endpoint=endpoint)

    async def page(self, number: int, size: int, *, endpoint: str) -> tuple[Task, ...]:
        return await self.behind.page(number, size, endpoint=endpoint)

    async def query(self, task_or_external_id: str, *, ours: bool = False, endpoint: str) -> Reply:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            return await self.behind.query(task_or_external_id, ours=ours, endpoint=endpoint)
        finally:
            self.under_way -= 1


@pytest.mark.parametrize("wishes", [5, 60])
def test_a_refreshed_plan_reads_pages_and_asks_few_single_questions(
    tmp_path: Path, wishes: int
) -> None:
    """60 wishes that are in flight or were never sent: two pages at most, and no more than 20 single questions."""

    async def story() -> None:
        async with scene(tmp_path, concurrency=100, task_s=6000) as it:
            names = [f"a{number:02}" for number in range(wishes)]
            it.write(*names)
            await it.apply(limit=100, seconds=60)
            desired = load(it.root, "specs", prices=UNITS_PER_SECOND).generations
            before = len(it.wall.asked)
            found = await refreshed(Answers(it.ports.client, it.ports.repository), {}, desired)
            assert {found[name].status for name in names} <= {Status.SUBMITTED, Status.PROCESSING}
            asked = [name for _, _, name in it.wall.asked[before:]]
            assert len(asked) <= (5 if wishes == 5 else 2)
            assert len([name for name in asked if name == "motion-control"]) <= 2

    run(story(), start=START)


def test_a_refreshed_plan_falls_back_to_single_questions(
    tmp_path: Path,
) -> None:
    """The list fails: every wish is asked about by itself; where one is not answered, there is no refreshed plan."""

    async def story() -> None:
        async with scene(tmp_path) as it:
            names = [f"a{number:02}" for number in range(40)]
            it.write(*names)
            it.wall.rule = lambda _, name: PAGE if name == "motion-control" else None
            desired = load(it.root, "specs", prices=UNITS_PER_SECOND).generations
            counting = Counting(it.ports.client)
            assert await refreshed(Answers(counting, it.ports.repository), {}, desired) == {}
            assert counting.most <= 8
            assert len({name for _, _, name in it.wall.asked} - {"motion-control"}) == len(names)
            it.wall.rule = lambda _, name: PAGE if name in {"motion-control", "a07"} else None
            with pytest.raises(ProviderError):
                await refreshed(Answers(it.ports.client, it.ports.repository), {}, desired)

    run(story(), start=START)
