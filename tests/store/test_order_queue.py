"""An order reaches the daemon once, or is withdrawn, whatever dies in between and whatever else stands in the table."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection
from sqlalchemy.engine.default import DefaultDialect

from reconciler.core.errors import StateError, StateReplaced
from reconciler.store.lock import StateLock
from reconciler.store.order_queue import OrderQueue, new_ticket, open_queue
from reconciler.store.repository import Repository
from reconciler.store.upkeep import back_up
from reconciler.store.values import HistoryEntry
from reconciler.store.writing import WritableDatabase as Database

from .builders import plain_user

_ASK_FOR_EVER = """
import sys
from pathlib import Path
from reconciler.store.order_queue import new_ticket, open_queue
with open_queue(Path(sys.argv[1])) as queue:
    while True:
        ticket = new_ticket()
        queue.put({"names": ["x" * 100_000]}, ticket)
        print(ticket, flush=True)
"""

_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "reconciler.db"


@pytest.fixture
def writer(path: Path) -> Iterator[Repository]:
    """The process that has the lock."""
    with StateLock(path.parent) as lock, closing(Repository.open(path, locks=[lock])) as repository:
        yield repository


@pytest.fixture
def daemon(writer: Repository) -> OrderQueue:
    """What the process that writes sees of the orders."""
    return writer.orders


@pytest.fixture
def giver(writer: Repository, path: Path) -> Iterator[OrderQueue]:
    """What a command sees of them."""
    with open_queue(path) as queue:
        assert queue is not None
        yield queue


def put(queue: OrderQueue, document: dict[str, object] | None = None) -> str:
    ticket = new_ticket()
    queue.put(document or {}, ticket)
    return ticket


def give_one(path: Path) -> None:
    with open_queue(path) as queue:
        assert queue is not None
        put(queue)


def rows(path: Path) -> list[str]:
    """The tickets of all orders in the table, answered or not."""
    with closing(sqlite3.connect(path)) as connection:
        return [
            ticket for (ticket,) in connection.execute("SELECT ticket FROM given_order ORDER BY id")
        ]


@settings(max_examples=50, deadline=None)
@given(document=st.dictionaries(st.text(), _json, max_size=4))
def test_document_arrives_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, document: dict[str, object]
) -> None:
    """Whatever JSON can say arrives, there and back, halves of characters included."""
    path = tmp_path_factory.getbasetemp() / "documents" / "reconciler.db"
    with closing(Repository.open(path)) as writer, open_queue(path) as giver:
        assert giver is not None
        ticket = put(giver, document)
        assert writer.orders.pending() == [(ticket, document)]
        writer.orders.answer(ticket, document | {"odd": "\udcff"})
        assert giver.poll(ticket) == document | {"odd": "\udcff"}


def test_answer_is_fetched_once_and_nothing_is_left(
    giver: OrderQueue, daemon: OrderQueue, path: Path
) -> None:
    """Until there is an answer there is none; once it was fetched the table is empty."""
    ticket = put(giver, {"verb": "retry"})
    assert giver.poll(ticket) is None
    assert daemon.pending() == [(ticket, {"verb": "retry"})]
    assert giver.poll(ticket) is None
    daemon.answer(ticket, {"done": True})
    assert daemon.pending() == []
    assert giver.poll(ticket) == {"done": True}
    assert giver.poll(ticket) is None
    assert rows(path) == []


def test_orders_come_oldest_first(giver: OrderQueue, daemon: OrderQueue) -> None:
    """The order of asking is the order of the list, and of the next lists."""
    tickets = [put(giver, {"number": number}) for number in range(30)]
    assert [ticket for ticket, _ in daemon.pending()] == tickets
    daemon.answer(tickets[0], {})
    assert [document["number"] for _, document in daemon.pending()] == list(range(1, 30))


def test_a_hundred_come_at_a_time(giver: OrderQueue, daemon: OrderQueue) -> None:
    """However many wait, a look is short, and those that did not come may still be withdrawn."""
    tickets = [put(giver) for _ in range(130)]
    assert [ticket for ticket, _ in daemon.pending()] == tickets[:100]
    assert giver.withdraw(tickets[120])
    for ticket in tickets[:100]:
        daemon.answer(ticket, {})
    assert [ticket for ticket, _ in daemon.pending()] == [*tickets[100:120], *tickets[121:]]


def test_withdrawn_order_is_never_seen(giver: OrderQueue, daemon: OrderQueue) -> None:
    """An order that was taken back before the daemon looked is not carried out."""
    ticket = put(giver)
    assert giver.withdraw(ticket)
    assert not giver.withdraw(ticket)
    assert daemon.pending() == []


@pytest.mark.parametrize("moment", ["before", "after"])
def test_an_order_whose_giver_is_interrupted_while_it_appears_is_taken_back(
    giver: OrderQueue, daemon: OrderQueue, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Ctrl-C may come right before or right after the commit: who drew the ticket first leaves nothing."""
    write = Database.write

    @contextmanager
    def interrupted(database: Database) -> Iterator[Connection]:
        with write(database) as connection:
            yield connection
            if moment == "before":
                raise KeyboardInterrupt
        raise KeyboardInterrupt

    ticket = new_ticket()
    with monkeypatch.context() as patched, suppress(KeyboardInterrupt):
        patched.setattr(Database, "write", interrupted)
        giver.put({"verb": "retry"}, ticket)
    assert giver.leave(ticket)
    assert daemon.pending() == []


def test_a_giver_that_is_interrupted_within_a_statement_takes_its_order_back(
    giver: OrderQueue, daemon: OrderQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLAlchemy closes the connection on which Ctrl-C came; the verbs after it have another one."""
    ticket = put(giver)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(DefaultDialect, "do_execute", interrupted)
        with pytest.raises(KeyboardInterrupt):
            giver.ask(ticket)
    assert giver.leave(ticket)
    assert daemon.pending() == []


def test_taken_order_cannot_be_withdrawn(giver: OrderQueue, daemon: OrderQueue) -> None:
    """Once the daemon has it, it may be carried out, and the giver is told so."""
    ticket = put(giver)
    daemon.pending()
    assert not giver.withdraw(ticket)
    assert not giver.leave(ticket)
    daemon.answer(ticket, {"done": 1})
    assert not giver.withdraw(ticket)
    assert giver.poll(ticket) == {"done": 1}
    assert giver.leave(ticket)


def test_only_a_giver_that_polls_is_taken_to_wait(giver: OrderQueue, daemon: OrderQueue) -> None:
    """Each question wants a reply of its own: what was replied before says nothing of now."""
    ticket = put(giver)
    daemon.pending()
    for _ in range(2):
        assert daemon.ask(ticket)
        assert not daemon.has_replied(ticket)
        assert giver.poll(ticket) is None
        assert daemon.has_replied(ticket)
    assert not daemon.ask(new_ticket())


def test_of_a_giver_and_a_daemon_exactly_one_wins(giver: OrderQueue, daemon: OrderQueue) -> None:
    """Withdrawing and taking at the same moment never both succeed, and never both fail."""
    taken: set[str] = set()
    ended = threading.Event()

    def take() -> None:
        while not ended.is_set():
            for ticket, _ in daemon.pending():
                taken.add(ticket)
                daemon.answer(ticket, {})

    thread = threading.Thread(target=take)
    thread.start()
    try:
        withdrawn = set()
        tickets = [put(giver) for _ in range(2)]
        for _ in range(200):
            tickets.append(put(giver))
            if giver.withdraw(tickets[-2]):
                withdrawn.add(tickets[-2])
    finally:
        ended.set()
        thread.join()
    for ticket, _ in daemon.pending():
        taken.add(ticket)
    assert withdrawn.isdisjoint(taken)
    assert withdrawn | taken == set(tickets)


def test_order_survives_the_death_of_both(path: Path) -> None:
    """What waited, and what was taken and not answered, is there for the next daemon; what was answered is not."""
    with closing(Repository.open(path)) as writer, open_queue(path) as giver:
        assert giver is not None
        tickets = [put(giver) for _ in range(3)]
        writer.orders.pending()
        writer.orders.answer(tickets.pop(0), {"done": True})
        tickets.append(put(giver))
    with closing(Repository.open(path)) as writer:
        assert [ticket for ticket, _ in writer.orders.pending()] == tickets


def test_giver_that_is_killed_leaves_whole_orders(
    writer: Repository, daemon: OrderQueue, path: Path
) -> None:
    """After SIGKILL every order is whole, and those that were acknowledged are all there; the writer goes on."""
    command = [sys.executable, "-c", _ASK_FOR_EVER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        tickets = [process.stdout.readline().strip() for _ in range(5)]
        process.send_signal(signal.SIGKILL)
        tickets += [line.strip() for line in process.stdout]
    found = daemon.pending()
    assert [ticket for ticket, _ in found][: len(tickets)] == tickets[:100]
    assert all(document == {"names": ["x" * 100_000]} for _, document in found)
    writer.remember("key", "value")


def test_no_giver_changes_the_file_of_the_database(
    writer: Repository, giver: OrderQueue, path: Path
) -> None:
    """The writer takes a change that it did not make for a copy put in its place, and would stop: however long the log gets."""
    before = path.stat()
    while path.with_name(f"{path.name}-wal").stat().st_size < 8_000_000:
        put(giver, {"names": ["x" * 1_000_000]})
    after = path.stat()
    assert (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
    writer.require_in_place()
    writer.note([HistoryEntry("mc1-a", 1, "noted")])


def test_orders_are_their_users_alone(path: Path) -> None:
    """Nobody else can read an order, or leave one: they are in the database, which is its user's."""
    was = os.umask(0)
    try:
        with closing(Repository.open(path)), open_queue(path) as giver:
            assert giver is not None
            put(giver)
            modes = {stat.S_IMODE(one.stat().st_mode) for one in path.parent.iterdir()}
    finally:
        os.umask(was)
    assert modes == {0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", '{"a": ' + "9" * 5000 + "}", "[" * 200_000, b"\xff\xfe", 7],
    ids=["empty", "half", "list", "null", "long number", "deep", "binary", "number"],
)
def test_what_is_no_document_stops_no_other_order(
    giver: OrderQueue, daemon: OrderQueue, path: Path, content: object
) -> None:
    """Nonsense never raises: it comes as an empty document, which is no order and is answered as that."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "INSERT INTO given_order (ticket, document, asked, heard) VALUES ('t', ?, 0, 0)",
            (content,),
        )
    ticket = put(giver)
    assert daemon.pending() == daemon.pending() == [("t", {}), (ticket, {})]


def test_what_nobody_fetches_does_not_grow_without_end(
    giver: OrderQueue, daemon: OrderQueue, path: Path
) -> None:
    """Of answers those to the newest thousand orders stay; what is not answered stays in any case."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany(
            "INSERT INTO given_order (ticket, document, asked, heard, answer) VALUES (?, '{}', 1, 1, ?)",
            [("waiting", None), *((str(number), "{}") for number in range(1005))],
        )
    ticket = put(giver)
    daemon.answer(ticket, {})
    assert rows(path) == ["waiting", *(str(number) for number in range(6, 1005)), ticket]


def test_order_that_is_too_long_is_refused(giver: OrderQueue, daemon: OrderQueue) -> None:
    """Beyond 1 MiB the giver is told, instead of waiting for ever; an answer may be longer."""
    with pytest.raises(StateError, match="too long") as caught:
        put(giver, {"names": ["x" * 1024 * 1024]})
    assert caught.value.hint
    ticket = put(giver)
    daemon.pending()
    daemon.answer(ticket, {"sentences": ["x" * 3 * 1024 * 1024]})
    assert giver.poll(ticket) is not None


def test_looking_creates_nothing(tmp_path: Path) -> None:
    """Where there is no state there is nobody to give an order to."""
    with open_queue(tmp_path / "reconciler.db") as queue:
        assert queue is None
    (tmp_path / "reconciler.db").touch()
    with open_queue(tmp_path / "reconciler.db") as queue:
        assert queue is None
    assert [path.name for path in tmp_path.iterdir()] == ["reconciler.db"]


def test_no_order_is_left_in_a_database_without_a_log(path: Path, tmp_path: Path) -> None:
    """A backup that was put in place is left as it is until its writer has opened it."""
    Repository.open(path).close()
    back_up(path, tmp_path / "backup.db")
    before = (tmp_path / "backup.db").read_bytes()
    with open_queue(tmp_path / "backup.db") as queue:
        assert queue is None
    assert (tmp_path / "backup.db").read_bytes() == before


@pytest.mark.parametrize("ticket", ["", "../../x", "' OR 1=1 --", "%"])
def test_only_a_ticket_names_an_order(giver: OrderQueue, daemon: OrderQueue, ticket: str) -> None:
    """What was not handed out leads nowhere."""
    given = put(giver)
    assert giver.poll(ticket) is None
    assert not giver.withdraw(ticket)
    daemon.answer(ticket, {})
    assert daemon.pending() == [(given, {})]


def test_planted_link_leads_nowhere(path: Path, tmp_path: Path) -> None:
    """A link in the database's place is neither written through nor read."""
    outside = tmp_path / "outside.db"
    Repository.open(outside).close()
    before = outside.read_bytes()
    path.parent.mkdir()
    path.symlink_to(outside)
    with pytest.raises(StateError, match="not a regular file"), open_queue(path):
        pass
    assert outside.read_bytes() == before


@pytest.mark.parametrize("how", ["removed", "moved", "restored"])
def test_a_state_that_is_replaced_under_a_giver_is_said(
    giver: OrderQueue, writer: Repository, path: Path, tmp_path: Path, how: str
) -> None:
    """It waits for no answer from a state that is not there any more, and leaves nothing in the one that is."""
    ticket = put(giver)
    back_up(path, tmp_path / "backup.db")
    if how == "moved":
        path.parent.rename(tmp_path / "state.old")
    else:
        shutil.rmtree(path.parent)
    if how == "restored":
        path.parent.mkdir()
        (tmp_path / "backup.db").rename(path)
    for verb in (giver.poll, giver.withdraw, lambda one: giver.put({}, one)):
        with pytest.raises(StateReplaced):
            verb(ticket)
    with pytest.raises(StateReplaced):
        writer.orders.answer(ticket, {})


def test_an_order_in_a_backup_is_nobodys(
    giver: OrderQueue, daemon: OrderQueue, path: Path, tmp_path: Path
) -> None:
    """The giver replied before the copy was made, and still waits, elsewhere: who has the copy gets no reply."""
    ticket = put(giver)
    daemon.pending()
    daemon.ask(ticket)
    giver.poll(ticket)
    back_up(path, tmp_path / "backup.db")
    with closing(Repository.open(tmp_path / "backup.db")) as restored:
        assert [one for one, _ in restored.orders.pending()] == [ticket]
        restored.orders.ask(ticket)
        giver.poll(ticket)
        assert not restored.orders.has_replied(ticket)


def test_database_that_cannot_be_written_is_said(open_folder: Path) -> None:
    """A database that is another user's to write is an error with a hint for the giver."""
    path = open_folder / "reconciler.db"
    with closing(Repository.open(path)), plain_user(open_folder):
        path.chmod(0o400)
        with pytest.raises(StateError, match="cannot be") as caught:
            give_one(path)
        assert caught.value.hint
