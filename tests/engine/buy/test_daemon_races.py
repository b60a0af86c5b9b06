"""What changes while a daemon is about to buy: each test is a purchase that was once made, or left out, by mistake."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from reconciler.core.diff import Known
from reconciler.core.errors import WorkspaceError
from reconciler.core.generations import Generation
from reconciler.core.states import Record
from reconciler.engine.buy import sender
from reconciler.engine.observe.survey import Facts
from reconciler.engine.run.daemon import Pace
from reconciler.workspace.git import Checkout
from tests.engine.run.test_daemon import creates, is_idle, video, wait_for_wish
from tests.engine.test_odd_providers import Altered
from tests.engine.watching import watching
from tests.engine.world import SPEC, World
from tests.support.project import Project, picture, wait_until
from tests.support.simulator import Simulator


class Overheard(httpx.AsyncBaseTransport):
    """The real wire; remembers the body of every create."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self._wire = httpx.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            self.bodies.append(json.loads(await request.aread()))
        return await self._wire.handle_async_request(request)

    async def aclose(self) -> None:
        await self._wire.aclose()


def test_what_cannot_be_looked_at_is_not_bought_as_it_was_wanted_before(
    project: World, sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wish waits for a slot, and its folder cannot be read any more: when the slot is free, nothing is sent for it."""
    sim.set_speed(1)
    known, unreadable = Facts.known, set[str]()

    def looked_at(self: Facts, wish: Generation, record: Record | None) -> Known:
        if wish.spec in unreadable:
            raise WorkspaceError("the disk does not answer")
        return known(self, wish, record)

    monkeypatch.setattr(Facts, "known", looked_at)
    project.write("a.yaml", prompt="holds the only slot")
    with watching(project, concurrency=1, options={"first_retry": 200}) as watched:
        wait_until(lambda: creates(sim) == 1, "the first create")
        project.write("b.yaml", prompt="waits")
        base = wait_for_wish(watched, "specs/b.yaml")
        unreadable.add("specs/b.yaml")
        project.write("b.yaml", prompt="waits")
        wait_until(
            lambda: "disk" in watched.call(lambda: watched.daemon.obstacle(base)), "the reason"
        )
        sim.set_speed(600)
        wait_until(is_idle(project, "a"), "the first video")
        project.write("c.yaml", prompt="another, which takes the slot")
        wait_until(is_idle(project, "c"), "the other video")
        assert creates(sim) == 2
        unreadable.clear()
        project.write("b.yaml", prompt="waits")
        wait_until(is_idle(project, "b"), "the one that waited")
    assert set(sim.billed().values()) == {1}


def test_an_id_of_ones_own_is_sent_with_the_content_that_is_written_down(
    project: World, sim: Simulator
) -> None:
    """A spec with an id of its own is edited while that id is asked for: sent, once, is what the receipt says."""
    heard = project.transport = Overheard()
    sim.faults([{"endpoint": "query", "when": {"first": 1}, "effect": {"delay_s": 1.0}}])
    own = "external_task_id: my-dance\n"
    project.write("dance.yaml", SPEC.format(image="girl", prompt="one") + own)
    with watching(project):
        wait_until(lambda: sim.fired() == [1], "the question")
        project.write("dance.yaml", SPEC.format(image="girl", prompt="two") + own)
        wait_until(is_idle(project, "dance"), "the video")
    (entry,) = json.loads(video(project, "dance.receipt.json").read_text())["generations"]
    (body,) = heard.bodies
    assert body["prompt"] == entry["request"]["prompt"] == "two"


def test_a_purchase_that_arrives_while_the_image_is_read_is_not_made_again(
    project: World, sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look and the intent a colleague's receipt comes by git: nothing is created."""
    picture(project.root / "assets" / "girl.png", "teal")
    text = SPEC.format(image="girl", prompt="shared").replace(
        "https://example.com/girl.png", "../assets/girl.png"
    )
    project.write("dance.yaml", text)
    with watching(project):
        wait_until(is_idle(project, "dance"), "the colleague's video")
    receipt = video(project, "dance.receipt.json").read_text()
    for name in ("dance.yaml", "dance.receipt.json", "dance.mp4"):
        video(project, name).unlink()
    project.lose_state()
    sim.faults([{"endpoint": "query", "effect": {"status": 404, "code": 1203}}])
    read, reading, go_on = sender._read_unchanged, threading.Event(), threading.Event()

    def slowly(*arguments: Any) -> bytes:
        reading.set()
        assert go_on.wait(20)
        return read(*arguments)

    monkeypatch.setattr(sender, "_read_unchanged", slowly)
    with watching(project) as watched:
        project.write("dance.yaml", text)
        base = wait_for_wish(watched, "specs/dance.yaml")
        assert reading.wait(20)
        video(project, "dance.receipt.json").write_text(receipt)
        wait_until(lambda: watched.status(base) not in {"", "pending"}, "the receipt to be read")
        go_on.set()
        wait_until(lambda: watched.status(base) == "expired", "a result that nobody has any more")
    assert creates(sim) == 1  # the colleague's


def test_a_second_attempt_waits_for_the_commit_that_allows_it(
    project: World, sim: Simulator
) -> None:
    """`retries: 1` after a failure counts once it is committed, without a restart."""
    spec = project.write("dance.yaml", prompt='"[[fail: too dark]]"')
    git = Project(project.root)
    git.commit()
    with watching(project, checkout=Checkout.find(project.root)) as watched:
        base = wait_for_wish(watched, "specs/dance.yaml")
        wait_until(lambda: watched.status(base) == "failed", "the failure")
        spec.write_text(spec.read_text() + "retries: 1\n")
        wait_until(
            lambda: watched.call(lambda: watched.index.generations("specs/dance.yaml")[0].retries),
            "the edit to be read",
        )
        assert creates(sim) == 1
        git.commit()
        wait_until(lambda: creates(sim) == 2, "the second attempt")


def test_whoever_tries_for_the_account_and_is_cut_off_lets_another_try(
    project: World, sim: Simulator
) -> None:
    """An order cuts the one that finds out whether the account is well; the next one finds out, and all are bought."""
    sim.faults([{"endpoint": "create", "effect": {"refuse": 1102}}])
    for number in range(3):
        project.write(f"s{number}.yaml", prompt=f"take {number}")
    with watching(project, options={"first_retry": 300, "standstill": 0.05}) as watched:
        wait_until(lambda: len(project.told.holds) == 3, "three held generations")
        sim.faults([{"endpoint": "query", "when": {"first": 1}, "effect": {"stall": 0}}])
        wait_until(lambda: sim.fired() == [1], "the one that tries")
        watched.run(standstill_of(watched.daemon))
        wait_until(is_idle(project, "s0", "s1", "s2"), "all three")
    assert sorted(sim.billed().values()) == [1, 1, 1]


def standstill_of(daemon: Any) -> Callable[[], Any]:
    """Return what has all work stand still for a moment, as an order does."""

    async def stand() -> None:
        async with daemon.loop.standstill():
            pass

    return stand


def test_a_turn_that_comes_too_late_does_not_end_a_hold(project: World, sim: Simulator) -> None:
    """A complete generation is held for its receipt; a turn that was due before has nothing to do, and leaves it."""
    project.write("dance.yaml")
    with watching(project) as watched:
        wait_until(is_idle(project, "dance"), "the video")
        base = wait_for_wish(watched, "specs/dance.yaml")
        video(project, "dance.receipt.json").write_text("<<<<<<< ours\n")
        holds = watched.daemon.records.holds
        wait_until(lambda: base in watched.call(holds), "the hold")

        async def turn() -> None:
            await watched.daemon.turns.take(base)

        watched.run(turn)
        assert base in watched.call(holds)


def test_a_link_that_no_event_tells_of_delays_a_purchase_and_does_not_stop_it(
    project: World, sim: Simulator
) -> None:
    """A backup links the spec elsewhere between the look and the create: it is read again, and bought."""
    spec = project.write("dance.yaml")
    os.utime(spec, (1_000_000_000, 1_000_000_000))
    (project.root / "backup").mkdir()

    def link(request: httpx.Request) -> None:
        if request.method == "GET" and not (project.root / "backup/dance.yaml").exists():
            os.link(spec, project.root / "backup/dance.yaml")

    project.transport = Altered(link)
    with watching(project, events=False, pace=Pace(settle=100, tick=50, polled=300_000)):
        wait_until((project.root / "specs/dance.mp4").exists, "the video", 30)
    assert list(sim.billed().values()) == [1]
