"""The daemon's side of orders: what was done is done once, whatever becomes of its answer."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

from reconciler.cli.project import Folder, ProjectRoot, open_folder
from reconciler.cli.running import SteadyClock, open_ports, options_of
from reconciler.core.errors import StateError
from reconciler.engine.observe.locations import Locations
from reconciler.engine.orders.take import OrderTaker
from reconciler.engine.records import Records
from reconciler.store.order_queue import OrderQueue, new_ticket, open_queue
from reconciler.workspace.index.spec_index import SpecIndex
from tests.engine.world import now_ms
from tests.support.ports import Told
from tests.support.simulator import Simulator

from .shell import SPEC, Shell

FAILING = SPEC + 'prompt: "[[fail: too dark]]"\n'


class Daemon:
    """One daemon's orders; `look` is what it does once a second. Meanwhile the givers of orders wait for answers."""

    def __init__(self, folder: Folder, giver: OrderQueue) -> None:
        self.told = Told()
        self.answers: dict[str, str] = {}
        self._giver = giver
        self._waiting: list[str] = []
        self._folder = folder
        self._index = SpecIndex(folder.root, "specs", prices=folder.settings.prices)
        self._taker: OrderTaker | None = None
        self.locations = Locations(folder.root, folder.repository, folder.objects)

    def give(self, verb: str, name: str, *, waits: bool = True, **times: int) -> str:
        """Leave an order; return its ticket."""
        ticket = new_ticket()
        times = times or {"given": now_ms(), "until": now_ms() + 60_000}
        self._giver.put({"verb": verb, "names": [name], **times}, ticket)
        if waits:
            self._waiting.append(ticket)
        return ticket

    def look(self) -> frozenset[str]:
        """Return the generations that were touched."""
        touched = asyncio.run(self._look())
        self._poll()
        return touched

    async def _look(self) -> frozenset[str]:
        folder, options = self._folder, options_of(self._folder.settings)
        async with open_ports(folder, self.told, SteadyClock()) as ports:
            self._taker = self._taker or OrderTaker(ports, options, self._index, folder.surveyor)
            if not self._taker.is_ordered():
                return frozenset()
            journal = Records(ports, options, folder.repository.records())
            waiting = asyncio.create_task(self._wait())
            try:
                return await self._taker.carry_out(journal, self.locations)
            finally:
                waiting.cancel()

    async def _wait(self) -> None:
        while True:
            self._poll()
            await asyncio.sleep(0.01)

    def _poll(self) -> None:
        for ticket in self._waiting:
            if answer := self._giver.poll(ticket):
                self.answers[ticket] = str(answer)


@pytest.fixture
def failed(shell: Shell, sim: Simulator) -> tuple[str, str]:
    """Two generations that failed."""
    shell.write("one.yaml", FAILING)
    shell.write("two.yaml", FAILING + "takes: 1\nkeep_original_sound: no\n")
    shell("apply", "--yes")
    one, two = shell.json("status")[1]["generations"]
    return one["external_task_id"], two["external_task_id"]


@contextmanager
def a_daemon(root: Path) -> Iterator[Daemon]:
    with (
        open_folder(ProjectRoot(root), write=True) as folder,
        open_queue(root / "state/reconciler.db") as giver,
    ):
        assert giver is not None
        yield Daemon(folder, giver)


@contextmanager
def no_answer_to(root: Path, ticket: str) -> Iterator[None]:
    """Have the database refuse the answer to one order."""
    trigger = f"CREATE TRIGGER in_the_way BEFORE UPDATE OF answer ON given_order WHEN NEW.ticket = '{ticket}'"
    with closing(sqlite3.connect(root / "state/reconciler.db")) as connection:
        connection.execute(f"{trigger} BEGIN SELECT RAISE(ABORT, 'in the way'); END")
        yield
        connection.execute("DROP TRIGGER in_the_way")


def test_an_answer_that_cannot_be_written_hides_nothing_that_was_done(
    shell: Shell, failed: tuple[str, str]
) -> None:
    """All that was touched is told, by every order; none is carried out twice, and the answer comes later."""
    with a_daemon(shell.root) as daemon:
        first, second = (daemon.give("retry", name) for name in failed)
        with no_answer_to(shell.root, first):
            assert daemon.look() == set(failed)
            assert "attempt 2 is wanted" in daemon.answers[second]
            assert daemon.look() == frozenset()
        unwritten = [
            one for one in daemon.told.said if "its answer could not be written yet" in one
        ]
        assert len(unwritten) == 1
        assert first not in daemon.answers
        assert daemon.look() == frozenset()
        assert "attempt 2 is wanted" in daemon.answers[first]
        assert daemon.look() == frozenset()


def test_what_was_done_is_not_done_again_while_the_orders_cannot_be_read(
    shell: Shell, failed: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An order whose answer was not written is remembered, though one look at the table fails in between."""
    with a_daemon(shell.root) as daemon:
        first = daemon.give("retry", failed[0])
        with no_answer_to(shell.root, first):
            assert daemon.look() == {failed[0]}
            with monkeypatch.context() as broken:
                broken.setattr(OrderQueue, "pending", lambda _: fail("The disk failed."))
                assert daemon.look() == frozenset()
        assert daemon.look() == frozenset()
        assert "attempt 2 is wanted" in daemon.answers[first]


def fail(message: str) -> NoReturn:
    raise StateError(message)


def test_what_cannot_be_learnt_after_an_order_hides_nothing_that_was_done(
    shell: Shell, failed: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another program holds the database: the order counts, what was known stays known, and it is read again."""
    with a_daemon(shell.root) as daemon:
        daemon.give("retry", failed[0])
        known = dict(daemon.locations.publications)
        with monkeypatch.context() as held:
            relearn = Locations.relearn

            def is_held(self: Locations) -> None:
                if self is daemon.locations:
                    raise StateError("The database is held.")
                relearn(self)

            held.setattr(Locations, "relearn", is_held)
            assert daemon.look() == {failed[0]}
            assert daemon.look() == frozenset()
        assert daemon.locations.publications == known
        assert [one for one in daemon.told.said if "held" in one] == ["The database is held."]
        assert daemon.look() == frozenset()


def test_an_order_without_an_end_is_dropped(shell: Shell, failed: tuple[str, str]) -> None:
    """Who wrote it did not say until when it is meant: it may be from last year."""
    with a_daemon(shell.root) as daemon:
        ticket = daemon.give("retry", failed[0], given=now_ms())
        assert daemon.look() == frozenset()
        assert "is dropped" in daemon.told.said[0]
        assert "nothing was done" in daemon.answers[ticket]


def test_an_order_whose_giver_does_not_reply_is_dropped(
    shell: Shell, failed: tuple[str, str]
) -> None:
    """It was killed, or the state folder is a copy: nobody waits for the orders in it. Others are carried out."""
    with a_daemon(shell.root) as daemon:
        daemon.give("retry", failed[0], waits=False)
        daemon.give("retry", failed[1])
        assert daemon.look() == {failed[1]}
        (dropped,) = (one for one in daemon.told.said if "is dropped" in one)
        assert f"`retry {failed[0]}`" in dropped
        assert "nobody waits" in dropped
        assert daemon.look() == frozenset()
