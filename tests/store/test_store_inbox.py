"""An order reaches the daemon once, or is withdrawn, whatever dies in between and whatever else lies there."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.core.errors import StateError
from reconciler.store.inbox import Inbox

from .builders import plain_user

_TICKET = f"{7:020}-{'a' * 8}"
_FOLDER = "inbox"

_ASK_FOR_EVER = """
import sys
from pathlib import Path
from reconciler.store.inbox import Inbox
inbox = Inbox(Path(sys.argv[1]))
while True:
    print(inbox.put({"names": ["x" * 100_000]}), flush=True)
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
def inbox(tmp_path: Path) -> Inbox:
    return Inbox(tmp_path)


@pytest.fixture
def daemon(tmp_path: Path) -> Inbox:
    """The other side of the same folder."""
    return Inbox(tmp_path)


def _names(state: Path) -> list[str]:
    return sorted(path.name for path in (state / _FOLDER).iterdir())


def _plant(state: Path, name: str, content: bytes = b"{}") -> Path:
    (state / _FOLDER).mkdir(mode=0o700, exist_ok=True)
    path = state / _FOLDER / name
    path.write_bytes(content)
    return path


@settings(max_examples=50, deadline=None)
@given(document=st.dictionaries(st.text(), _json, max_size=4))
def test_document_arrives_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, document: dict[str, object]
) -> None:
    """Whatever JSON can say arrives, there and back, halves of characters included."""
    state = tmp_path_factory.mktemp("state")
    ticket = Inbox(state).put(document)
    assert Inbox(state).pending() == [(ticket, document)]
    Inbox(state).answer(ticket, document | {"odd": "\udcff"})
    assert Inbox(state).answered(ticket) == document | {"odd": "\udcff"}


def test_answer_is_fetched_once_and_nothing_is_left(
    inbox: Inbox, daemon: Inbox, tmp_path: Path
) -> None:
    """Until there is an answer there is none; once it was fetched the folder is empty."""
    ticket = inbox.put({"verb": "retry"})
    assert inbox.answered(ticket) is None
    assert daemon.pending() == [(ticket, {"verb": "retry"})]
    assert inbox.answered(ticket) is None
    daemon.answer(ticket, {"done": True})
    assert daemon.pending() == []
    assert inbox.answered(ticket) == {"done": True}
    assert inbox.answered(ticket) is None
    assert _names(tmp_path) == []


def test_orders_come_oldest_first(inbox: Inbox, daemon: Inbox) -> None:
    """The order of asking is the order of the list, and of the next lists."""
    tickets = [inbox.put({"number": number}) for number in range(30)]
    assert [ticket for ticket, _ in daemon.pending()] == tickets
    daemon.answer(tickets[0], {})
    assert [document["number"] for _, document in daemon.pending()] == list(range(1, 30))


def test_a_hundred_come_at_a_time(inbox: Inbox, daemon: Inbox) -> None:
    """However many wait, a look is short, and those that did not come may still be withdrawn."""
    tickets = [inbox.put({}) for _ in range(130)]
    assert [ticket for ticket, _ in daemon.pending()] == tickets[:100]
    assert inbox.withdraw(tickets[120])
    for ticket in tickets[:100]:
        daemon.answer(ticket, {})
    assert [ticket for ticket, _ in daemon.pending()] == [*tickets[100:120], *tickets[121:]]


def test_withdrawn_order_is_never_seen(inbox: Inbox, daemon: Inbox) -> None:
    """An order that was taken back before the daemon looked is not carried out."""
    ticket = inbox.put({})
    assert inbox.withdraw(ticket)
    assert not inbox.withdraw(ticket)
    assert daemon.pending() == []


@pytest.mark.parametrize("moment", [1, 2, 3], ids=["written", "appeared", "returned"])
def test_an_order_whose_giver_is_interrupted_while_it_appears_is_taken_back(
    inbox: Inbox, daemon: Inbox, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    """Ctrl-C may come at any of these moments, the one after the rename too: who took the ticket first leaves nothing."""
    synced = itertools.count(1)

    def interrupted(_: int) -> None:
        if next(synced) == moment:
            raise KeyboardInterrupt

    monkeypatch.setattr("reconciler.store.inbox_files.sync", interrupted)
    ticket = inbox.new_ticket()
    with suppress(KeyboardInterrupt):
        inbox.put({"verb": "retry"}, ticket)
        raise KeyboardInterrupt
    assert inbox.leave(ticket)
    assert daemon.pending() == []


def test_taken_order_cannot_be_withdrawn(inbox: Inbox, daemon: Inbox) -> None:
    """Once the daemon has it, it will be carried out, and the asker is told so."""
    ticket = inbox.put({})
    daemon.pending()
    assert not inbox.withdraw(ticket)
    daemon.answer(ticket, {"done": 1})
    assert not inbox.withdraw(ticket)
    assert inbox.answered(ticket) == {"done": 1}


def test_of_an_asker_and_a_daemon_exactly_one_wins(inbox: Inbox, daemon: Inbox) -> None:
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
        tickets = [inbox.put({}) for _ in range(2)]
        for _ in range(200):
            tickets.append(inbox.put({}))
            if inbox.withdraw(tickets[-2]):
                withdrawn.add(tickets[-2])
    finally:
        ended.set()
        thread.join()
    for ticket, _ in daemon.pending():
        taken.add(ticket)
    assert withdrawn.isdisjoint(taken)
    assert withdrawn | taken == set(tickets)


def test_order_survives_the_death_of_both(inbox: Inbox, tmp_path: Path) -> None:
    """What waited, and what was taken and not answered, is there for the next daemon."""
    tickets = [inbox.put({}), inbox.put({})]
    Inbox(tmp_path).pending()
    tickets.append(inbox.put({}))
    assert [ticket for ticket, _ in Inbox(tmp_path).pending()] == tickets


def test_order_that_was_answered_is_not_carried_out_again(
    inbox: Inbox, daemon: Inbox, tmp_path: Path
) -> None:
    """When the daemon dies right after the answer was written, the next one sees that it was."""
    ticket = inbox.put({})
    daemon.pending()
    taken = tmp_path / _FOLDER / f"{ticket}.taken"
    content = taken.read_bytes()
    daemon.answer(ticket, {"done": True})
    taken.write_bytes(content)  # as it was before the daemon's last step
    assert inbox.answered(ticket) is None
    assert Inbox(tmp_path).pending() == []
    assert inbox.answered(ticket) == {"done": True}


def test_asker_that_is_killed_leaves_whole_orders(tmp_path: Path) -> None:
    """After SIGKILL every order is whole, and those that were acknowledged are all there."""
    command = [sys.executable, "-c", _ASK_FOR_EVER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        tickets = [process.stdout.readline().strip() for _ in range(5)]
        process.send_signal(signal.SIGKILL)
        tickets += [line.strip() for line in process.stdout]
    found = Inbox(tmp_path).pending()
    assert [ticket for ticket, _ in found][: len(tickets)] == tickets[:100]
    assert all(document == {"names": ["x" * 100_000]} for _, document in found)


def test_files_are_their_users_alone(inbox: Inbox, daemon: Inbox, tmp_path: Path) -> None:
    """Nobody else can read an order, or leave one."""
    was = os.umask(0)
    try:
        ticket = inbox.put({})
        daemon.pending()
        daemon.answer(ticket, {})
        inbox.put({})
    finally:
        os.umask(was)
    assert stat.S_IMODE((tmp_path / _FOLDER).stat().st_mode) == 0o700
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / _FOLDER).iterdir()}
    assert modes == {0o600}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"a": ' + b"9" * 5000 + b"}",
        b"[" * 200_000,
        json.dumps({"a": "x" * 1024 * 1024}).encode(),
    ],
    ids=["empty", "half", "list", "null", "binary", "long number", "deep", "too long"],
)
def test_what_is_no_order_is_set_aside(
    inbox: Inbox, daemon: Inbox, tmp_path: Path, content: bytes
) -> None:
    """Nonsense never raises, is not tried again, is kept for a person to see, and stops no other order."""
    _plant(tmp_path, f"{_TICKET}.order", content)
    ticket = inbox.put({})
    assert daemon.pending() == daemon.pending() == [(ticket, {})]
    assert (tmp_path / _FOLDER / f"{_TICKET}.taken.aside").read_bytes() == content


@pytest.mark.parametrize("suffix", [".order", ".taken", ""])
@pytest.mark.parametrize(
    "plant",
    [
        os.mkfifo,
        os.mkdir,
        lambda path: path.symlink_to(path.parents[1] / "outside"),
        lambda path: path.symlink_to(path.name),
    ],
    ids=["fifo", "folder", "link", "circle"],
)
def test_what_is_no_file_is_not_followed(
    inbox: Inbox, daemon: Inbox, tmp_path: Path, plant: Callable[[Path], None], suffix: str
) -> None:
    """A FIFO does not hang the daemon, and a link leads it nowhere, whatever it is called."""
    outside = tmp_path / "outside"
    outside.write_text('{"verb": "forget"}')
    plant(_plant(tmp_path, "x").with_name(f"{_TICKET}{suffix}"))
    ticket = inbox.put({})
    assert daemon.pending() == [(ticket, {})]
    assert daemon.pending() == [(ticket, {})]
    assert outside.read_text() == '{"verb": "forget"}'
    assert [name for name in _names(tmp_path) if not name.endswith(".aside")] == [f"{ticket}.taken"]


def test_order_that_may_not_be_read_is_set_aside(open_folder: Path) -> None:
    """A file of the root user's, for instance, is not tried again and again."""
    _plant(open_folder, f"{_TICKET}.order").chmod(0o000)
    with plain_user(open_folder):
        assert Inbox(open_folder).pending() == []
        assert _names(open_folder) == [f"{_TICKET}.taken.aside"]


def test_other_peoples_files_are_set_aside(daemon: Inbox, tmp_path: Path) -> None:
    """A file that nobody here writes is kept under another name, however long its own is."""
    _plant(tmp_path, "notes.txt", b"notes")
    _plant(tmp_path, "n" * 255)
    assert daemon.pending() == []
    assert _names(tmp_path) == ["notes.txt.aside"]
    assert (tmp_path / _FOLDER / "notes.txt.aside").read_bytes() == b"notes"


def test_what_nobody_fetches_does_not_grow_without_end(daemon: Inbox, tmp_path: Path) -> None:
    """Of answers, half-written orders and what was set aside the newest thousand stay."""
    for number in range(1005):
        for suffix in (".answer", ".order.new", ".aside"):
            _plant(tmp_path, f"{number:020}-{'a' * 8}{suffix}")
    daemon.pending()
    names = _names(tmp_path)
    assert len(names) == 3000
    assert names[0].startswith(f"{5:020}")


def test_order_that_is_being_written_is_left_alone(daemon: Inbox, tmp_path: Path) -> None:
    """The temporary file of an asker that is in the middle of it is no foreign file."""
    _plant(tmp_path, f"{_TICKET}.order.new", b'{"ver')
    assert daemon.pending() == []
    assert _names(tmp_path) == [f"{_TICKET}.order.new"]


def test_order_that_is_too_long_is_refused(inbox: Inbox, daemon: Inbox) -> None:
    """Beyond 1 MiB the asker is told, instead of waiting for ever; an answer may be longer."""
    with pytest.raises(StateError, match="too long") as caught:
        inbox.put({"names": ["x" * 1024 * 1024]})
    assert caught.value.hint
    ticket = inbox.put({})
    daemon.pending()
    daemon.answer(ticket, {"sentences": ["x" * 3 * 1024 * 1024]})
    assert inbox.answered(ticket) is not None


def test_looking_creates_nothing(inbox: Inbox, tmp_path: Path) -> None:
    """A folder in which nobody ever asked has no inbox."""
    assert inbox.pending() == []
    assert inbox.answered(_TICKET) is None
    assert not inbox.withdraw(_TICKET)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ticket", ["", "../../x", "a" * 29, f"{_TICKET}\n", f"{_TICKET}/x"])
def test_only_a_ticket_names_an_order(inbox: Inbox, ticket: str) -> None:
    """What was not handed out leads nowhere."""
    for verb in (inbox.answered, inbox.withdraw, lambda each: inbox.answer(each, {})):
        with pytest.raises(StateError, match="not a ticket"):
            verb(ticket)


def test_planted_folder_link_leads_nowhere(inbox: Inbox, tmp_path: Path) -> None:
    """A link in the inbox's place is neither written through nor read."""
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o700)
    (outside / f"{_TICKET}.order").write_text("{}")
    (tmp_path / _FOLDER).symlink_to(outside)
    assert inbox.pending() == []
    with pytest.raises(StateError, match="is a link"):
        inbox.put({})
    with pytest.raises(StateError, match="cannot be used"):
        inbox.withdraw(_TICKET)
    assert [path.name for path in outside.iterdir()] == [f"{_TICKET}.order"]


def test_folder_that_others_may_write_gives_no_orders(inbox: Inbox, tmp_path: Path) -> None:
    """An order can spend money: where anybody may leave one none counts, and the asker is told."""
    ticket = inbox.put({})
    (tmp_path / _FOLDER).chmod(0o770)
    assert inbox.pending() == []
    for verb in (lambda: inbox.put({}), lambda: inbox.answered(ticket)):
        with pytest.raises(StateError, match="Users other than this one") as caught:
            verb()
        assert "remove that folder" in caught.value.hint
    (tmp_path / _FOLDER).chmod(0o700)
    assert inbox.pending() == [(ticket, {})]


def test_another_users_folder_gives_no_orders(open_folder: Path) -> None:
    """So it is with a folder that belongs to somebody else."""
    if os.geteuid() != 0:
        pytest.skip("only root can be two users")
    Inbox(open_folder).put({})
    with plain_user(open_folder):
        Inbox(open_folder).put({})
    assert Inbox(open_folder).pending() == []


def test_folder_that_cannot_be_written_is_said(open_folder: Path) -> None:
    """A read-only state folder is an error with a hint for the asker, and an empty inbox for the daemon."""
    open_folder.chmod(0o555)
    with plain_user(open_folder):
        with pytest.raises(StateError, match="cannot be used: Permission denied") as caught:
            Inbox(open_folder).put({})
        assert caught.value.hint
        assert Inbox(open_folder).pending() == []


def test_tickets_look_alike() -> None:
    """The tests' own ticket is one, so that what they plant is taken for an order."""
    assert re.fullmatch(r"[0-9]{20}-[0-9a-f]{8}", _TICKET)
