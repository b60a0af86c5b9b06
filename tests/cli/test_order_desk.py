"""The daemon's side of orders: what was done is done once, whatever becomes of its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reconciler.cli.clock import SteadyClock
from reconciler.cli.folder import Folder, open_folder
from reconciler.cli.order_desk import OrderDesk
from reconciler.cli.root import Root
from reconciler.cli.running import open_ports, options_of
from reconciler.core.errors import StateError
from reconciler.engine.journal import Journal
from reconciler.engine.recall import Recalled
from reconciler.engine.whereabouts import Whereabouts
from reconciler.store.inbox import Inbox
from reconciler.store.repository import Repository
from reconciler.workspace.index import SpecIndex
from tests.engine.world import now_ms
from tests.support.ports import Told
from tests.support.simulator import Simulator

from .shell import SPEC, Shell

FAILING = SPEC + 'prompt: "[[fail: too dark]]"\n'


class Desk:
    """One daemon's desk; `look` is what it does once a second."""

    def __init__(self, folder: Folder) -> None:
        self.told = Told()
        self._folder = folder
        self._index = SpecIndex(folder.root, "specs", prices=folder.settings.prices)
        self._desk: OrderDesk | None = None
        self.whereabouts = Whereabouts.learn(
            folder.root, folder.repository, folder.objects, Recalled()
        )

    def look(self) -> frozenset[str]:
        """Return the generations that were touched."""
        return asyncio.run(self._look())

    async def _look(self) -> frozenset[str]:
        folder, options = self._folder, options_of(self._folder.settings)
        async with open_ports(folder, self.told, SteadyClock()) as ports:
            self._desk = self._desk or OrderDesk(folder, ports, options, self._index)
            if not self._desk.is_ordered():
                return frozenset()
            journal = Journal(ports, options, folder.repository.records())
            return await self._desk.carry_out(journal, self.whereabouts)


@pytest.fixture
def failed(shell: Shell, sim: Simulator) -> tuple[str, str]:
    """Two generations that failed."""
    shell.write("one.yaml", FAILING)
    shell.write("two.yaml", FAILING + "takes: 1\nkeep_original_sound: no\n")
    shell("apply", "--yes")
    one, two = shell.json("status")[1]["generations"]
    return one["external_task_id"], two["external_task_id"]


@contextmanager
def desk(root: Path) -> Iterator[Desk]:
    with open_folder(Root(root), write=True) as folder:
        yield Desk(folder)


def order(inbox: Inbox, verb: str, name: str) -> str:
    given = now_ms()
    return inbox.put({"verb": verb, "names": [name], "given": given, "until": given + 60_000})


def test_an_answer_that_cannot_be_written_hides_nothing_that_was_done(
    shell: Shell, failed: tuple[str, str]
) -> None:
    """All that was touched is told, by every order; none is carried out twice, and the answer comes later."""
    inbox = Inbox(shell.root / "state")
    with desk(shell.root) as daemon:
        first, second = (order(inbox, "retry", name) for name in failed)
        in_the_way = shell.root / f"state/inbox/{first}.answer.new"
        in_the_way.mkdir()
        assert daemon.look() == set(failed)
        assert "attempt 2 is wanted" in str(inbox.answered(second))
        assert daemon.look() == frozenset()
        assert (
            len([one for one in daemon.told.said if "its answer could not be written yet" in one])
            == 1
        )
        in_the_way.rmdir()
        assert daemon.look() == frozenset()
        assert "attempt 2 is wanted" in str(inbox.answered(first))
        assert daemon.look() == frozenset()


def test_what_cannot_be_learnt_after_an_order_hides_nothing_that_was_done(
    shell: Shell, failed: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another program holds the database: the order counts, what was known stays known, and it is read again."""
    inbox = Inbox(shell.root / "state")
    with desk(shell.root) as daemon:
        order(inbox, "retry", failed[0])
        known = dict(daemon.whereabouts.publications)
        with monkeypatch.context() as held:
            relearn = Whereabouts.relearn

            def is_held(self: Whereabouts, repository: Repository) -> None:
                if self is daemon.whereabouts:
                    raise StateError("The database is held.")
                relearn(self, repository)

            held.setattr(Whereabouts, "relearn", is_held)
            assert daemon.look() == {failed[0]}
            assert daemon.look() == frozenset()
        assert daemon.whereabouts.publications == known
        assert [one for one in daemon.told.said if "held" in one] == ["The database is held."]
        assert daemon.look() == frozenset()


def test_an_order_without_an_end_is_dropped(shell: Shell, failed: tuple[str, str]) -> None:
    """Who wrote it did not say until when it is meant: it may be from last year."""
    inbox = Inbox(shell.root / "state")
    with desk(shell.root) as daemon:
        ticket = inbox.put({"verb": "retry", "names": [failed[0]]})
        assert daemon.look() == frozenset()
        assert "is dropped" in daemon.told.said[0]
        assert "nothing was done" in str(inbox.answered(ticket))


def test_a_copy_of_an_order_is_nobodys(shell: Shell, failed: tuple[str, str]) -> None:
    """A state folder that was copied or put back holds orders that nobody waits for."""
    inbox = Inbox(shell.root / "state")
    with desk(shell.root) as daemon:
        ticket = order(inbox, "retry", failed[0])
        path = shell.root / f"state/inbox/{ticket}.order"
        copied = path.read_bytes()
        path.unlink()
        path.write_bytes(copied)
        assert daemon.look() == frozenset()
        assert "nobody waits" in daemon.told.said[0]
