"""retry, import, refresh, forget and prune in process: what they show, ask, do and leave, here and by a daemon."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reconciler.cli.order_commands import carry_out_here
from reconciler.cli.project import ProjectRoot, open_folder
from reconciler.core.orders import Order, OrderError, Outcome
from reconciler.store.lock import StateLock
from reconciler.store.order_queue import new_ticket, open_queue
from tests.support.project import wait_until
from tests.support.simulator import Simulator

from .shell import SPEC, Shell

FAILING = SPEC + 'prompt: "[[fail: too dark]]"\n'
NOTHING = "Nothing to remove: all that is older than an hour is referred to.\n"
ORDERS = ("retry", "import", "forget")


def fail_once(sim: Simulator) -> None:
    sim.faults([{"endpoint": "create", "when": {"first": 1}, "effect": {"fail": "too dark"}}])


@contextmanager
def a_daemon(root: Path) -> Iterator[list[str]]:
    """Somebody who has the lock and carries out what comes, as `watch` does; gives the verbs that came."""
    verbs: list[str] = []
    ready, over = threading.Event(), threading.Event()

    def serve() -> None:
        with open_folder(ProjectRoot(root), write=True) as folder:
            queue = folder.writable.orders
            ready.set()
            while not over.wait(0.02):
                for ticket, document in queue.pending():
                    verbs.append(str(document.get("verb")))
                    try:
                        outcome = asyncio.run(carry_out_here(folder, Order.read(document)))
                    except OrderError as error:
                        outcome = Outcome.refused(error.message)
                    queue.answer(ticket, outcome.document())

    thread = threading.Thread(target=serve, name="daemon")
    thread.start()
    try:
        assert ready.wait(10)
        yield verbs
    finally:
        over.set()
        thread.join()


# retry


def test_retry_tries_again_what_failed_and_waits_for_it(shell: Shell, sim: Simulator) -> None:
    """It shows the attempt, its cost and why the last one ended; then it is bought once, saved and published."""
    shell.write("dance.yaml")
    fail_once(sim)
    assert shell("apply", "--yes")[0] == 3
    code, out, err = shell("retry", "specs/dance.yaml", "--yes")
    assert code == 0
    assert "attempt 2, about 5 units; failed: too dark" in err
    assert "attempt 2 is wanted" in out
    assert (shell.root / "specs/dance.mp4").exists()
    assert (shell.only()["status"], sim.requests()["create"]) == ("complete", 2)


def test_retry_that_fails_again_ends_with_3_and_not_with_a_third_attempt(
    shell: Shell, sim: Simulator
) -> None:
    """One order is one attempt."""
    shell.write("dance.yaml", FAILING)
    shell("apply", "--yes")
    name = shell.only()["external_task_id"]
    assert shell("retry", name, "--yes")[0] == 3
    assert (shell.only()["status"], sim.requests()["create"]) == ("failed", 2)


def test_retry_is_about_what_it_names_alone(shell: Shell, sim: Simulator) -> None:
    """Another wish that is not bought yet is not bought with it."""
    shell.write("dance.yaml", FAILING)
    shell("apply", "--yes")
    shell.write("other.yaml", SPEC + "prompt: other\n")
    shell("retry", "specs/dance.yaml", "--yes")
    rows = {row["spec"]: row["status"] for row in shell.json("status")[1]["generations"]}
    assert rows == {"specs/dance.yaml": "failed", "specs/other.yaml": "pending"}


def test_retry_says_that_an_expired_result_is_paid_again(shell: Shell, sim: Simulator) -> None:
    """What it costs to have waited too long stands in capitals, before the question."""
    shell.write("dance.yaml")
    sim.faults([{"endpoint": "result", "effect": {"redirect": "http://192.0.2.1/x.mp4"}}])
    shell("apply", "--yes")
    sim.advance(31 * 24 * 3600)
    sim.faults([])
    shell("apply", "--yes")
    assert shell.only()["status"] == "expired"
    code, _, err = shell("retry", "specs/dance.yaml")
    assert code == 1
    assert "WILL BE PAID AGAIN" in err
    assert "nobody to ask, so nothing was bought" in err
    assert sum(sim.billed().values()) == 1
    assert shell("retry", "specs/dance.yaml", "--yes")[0] == 0
    assert sum(sim.billed().values()) == 2


def test_retry_of_what_needs_none_says_so(shell: Shell, sim: Simulator) -> None:
    """Not sent, under way, complete: exit 0, and nothing is asked, sent or changed."""
    shell.write("dance.yaml")
    assert "has not been sent yet" in shell("retry", "specs/dance.yaml")[1]
    sim.set_speed(0)
    shell("apply", "--yes", "--timeout", "0.5")
    assert "is under way" in shell("retry", "specs/dance.yaml")[1]
    sim.set_speed(600)
    shell("apply", "--yes")
    code, out, _ = shell("retry", "specs/dance.yaml")
    assert (code, "raise `takes`" in out, "Nothing to try again." in out) == (0, True, True)
    assert sim.requests()["create_attempts"] == 1


# import


def test_import_takes_a_task_over_and_apply_fetches_it(shell: Shell, sim: Simulator) -> None:
    """After the loss of the state: by its id, without buying."""
    shell.write("dance.yaml")
    sim.set_speed(0)
    shell("apply", "--yes", "--timeout", "0.5")
    row = shell.only()
    for path in (shell.root / "state").glob("reconciler.db*"):
        path.unlink()
    code, out, _ = shell("import", row["task_id"])
    assert (code, "Run `reconciler apply`" in out) == (0, True)
    assert shell.only()["task_id"] == row["task_id"]
    sim.set_speed(600)
    assert shell("apply", "--yes")[0] == 0
    assert sim.requests()["create_attempts"] == 1


def test_import_of_an_unknown_task_is_an_error_and_changes_nothing(
    shell: Shell, sim: Simulator
) -> None:
    """The provider is asked, and knows none."""
    shell.write("dance.yaml")
    code, out, _ = shell("import", "867283741759111202")
    assert (code, "knows no task" in out) == (1, True)
    assert shell.only()["status"] == "pending"


def test_import_for_binds_one_task_to_one_generation(shell: Shell, sim: Simulator) -> None:
    """A spec with two generations, or two tasks, is not one."""
    shell.write("dance.yaml", SPEC + "takes: 2\n")
    for ids, target in ((["1"], "specs/dance.yaml"), (["1", "2"], "mc1-x")):
        code, _, err = shell("import", *ids, "--for", target)
        assert code == 1
        assert "names no spec" in err or "binds one task to one generation" in err
    assert sim.requests()["query"] == 0


# refresh


def test_refresh_tells_what_changed_and_fetches_nothing(shell: Shell, sim: Simulator) -> None:
    """A task that ended is `succeeded`, until `apply` saves it; what is settled is not asked about."""
    shell.write("dance.yaml")
    sim.set_speed(0)
    shell("apply", "--yes", "--timeout", "0.5")
    sim.set_speed(600)
    sim.advance(300)
    code, out, _ = shell("refresh")
    assert (code, "is now succeeded" in out) == (0, True)
    assert (shell.only()["status"], sim.requests()["result"]) == ("succeeded", 0)
    assert "nothing changed" in shell("refresh", "specs/dance.yaml")[1]
    shell("apply", "--yes")
    before = sim.requests()
    assert "nothing to ask about" in shell("refresh")[1]
    assert (sim.requests(), before["create_attempts"]) == (before, 1)


# forget


def test_forget_shows_what_goes_and_needs_a_yes(shell: Shell, sim: Simulator) -> None:
    """Without anybody to ask nothing goes; with --yes the state and the receipt do, and the video stays."""
    shell.write("dance.yaml")
    shell("apply", "--yes")
    name = shell.only()["external_task_id"]
    code, _, err = shell("forget", name)
    assert code == 1
    for word in (name, "specs/dance.receipt.json", "specs/dance.mp4", "MAY BE BOUGHT AGAIN"):
        assert word in err
    assert shell.only()["status"] == "complete"
    wait_until(lambda: shell("forget", name, "--yes")[0] == 0, "the end of the grace")
    assert (shell.root / "specs/dance.mp4").exists()
    assert not (shell.root / "specs/dance.receipt.json").exists()
    assert shell.only()["status"] == "blocked"
    assert sim.requests()["create_attempts"] == 1


def test_forget_of_a_task_in_flight_says_that_it_may_be_billed(
    shell: Shell, sim: Simulator
) -> None:
    """Only --yes does it; the next apply finds the task again by its id and does not buy a second one."""
    shell.write("dance.yaml")
    sim.set_speed(0)
    shell("apply", "--yes", "--timeout", "0.5")
    name = shell.only()["external_task_id"]
    code, _, err = shell("forget", name)
    assert (code, "may bill it all the same" in err) == (1, True)
    assert "may still be billed, so nothing was forgotten" in err
    assert shell.only()["task_id"]
    wait_until(lambda: shell("forget", name, "--yes")[0] == 0, "the end of the grace")
    assert shell.only()["status"] == "pending"
    sim.set_speed(600)
    assert shell("apply", "--yes")[0] == 0
    assert sim.requests()["create_attempts"] == 1


def test_forget_knows_what_only_a_receipt_lists(shell: Shell, sim: Simulator) -> None:
    """Of a spec that is gone, after the loss of the state: struck from the receipt, which then goes too."""
    shell.write("dance.yaml")
    shell("apply", "--yes")
    name = shell.only()["external_task_id"]
    (shell.root / "specs/dance.yaml").unlink()
    for path in (shell.root / "state").glob("reconciler.db*"):
        path.unlink()
    assert shell("forget", name, "--yes")[0] == 0
    assert not (shell.root / "specs/dance.receipt.json").exists()
    code, _, err = shell("forget", name, "--yes")
    assert (code, "not an id that the state or a receipt knows" in err) == (1, True)


# prune


def test_prune_lists_orphans_and_removes_them_with_a_yes(shell: Shell, sim: Simulator) -> None:
    """Path and size first; the bytes stay in the object store, so the spec's return costs nothing."""
    assert shell("prune")[:2] == (0, "Nothing to prune: a spec asks for every output of ours.\n")
    spec = shell.write("dance.yaml")
    shell("apply", "--yes")
    video = shell.root / "specs/dance.mp4"
    size = video.stat().st_size
    spec.unlink()
    code, _, err = shell("prune")
    assert (code, f"specs/dance.mp4  {size:,} bytes" in err) == (1, True)
    assert video.exists()
    assert shell("prune", "--yes")[0] == 0
    assert not video.exists()
    shell.write("dance.yaml")
    assert shell("apply", "--yes")[0] == 0
    assert video.stat().st_size == size
    assert sim.requests()["create_attempts"] == 1


def test_gc_shows_what_would_go_and_removes_it_with_a_yes(shell: Shell, sim: Simulator) -> None:
    """Names and sizes first; without a yes, or with --dry-run, nothing goes; nothing is bought again."""
    shell.write("dance.yaml")
    shell("apply", "--yes")
    assert shell("gc", "--yes")[:2] == (0, NOTHING)
    left = shell.root / "state/objects/partial" / f"{'0' * 32}.part"
    left.parent.mkdir(exist_ok=True)
    left.write_bytes(bytes(1234))
    os.utime(left, (1, 1))
    for arguments, expected in ((["--dry-run"], 0), ([], 1)):
        code, _, err = shell("gc", *arguments)
        assert (code, f"partial/{left.name}  1,234 bytes" in err) == (expected, True)
        assert left.exists()
    assert shell("gc", "--yes")[:2] == (0, "removed 1 file (1,234 bytes)\n")
    assert not left.exists()
    assert shell("gc")[1] == NOTHING


# wherever there is nothing to work with


@pytest.mark.parametrize("command", ORDERS)
def test_an_id_that_nobody_knows_is_a_sentence(shell: Shell, sim: Simulator, command: str) -> None:
    """Exit 1; nothing is created, here or there."""
    shell.write("dance.yaml")
    code, out, err = shell(command, "mc1-nobody", *(["--yes"] if command == "forget" else []))
    assert code == 1
    assert "mc1-nobody" in out + err
    assert sim.requests()["create_attempts"] == 0


@pytest.mark.parametrize("arguments", [["import", "1"], ["refresh"]])
def test_without_a_key_nothing_is_asked(shell: Shell, arguments: list[str]) -> None:
    """The sentence names the setting."""
    shell.write("dance.yaml")
    code, _, err = shell(*arguments)
    assert code == 1
    assert "KLING_ACCESS_KEY" in err


def test_retry_without_a_key_changes_nothing(
    shell: Shell, sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would buy at once, so it says what is missing before anybody is asked."""
    shell.write("dance.yaml", FAILING)
    shell("apply", "--yes")
    monkeypatch.delenv("KLING_ACCESS_KEY")
    code, _, err = shell("retry", "specs/dance.yaml", "--yes")
    assert (code, "KLING_ACCESS_KEY" in err) == (1, True)
    assert shell.only()["status"] == "failed"


@pytest.mark.parametrize(
    "arguments", [["retry", "x"], ["import", "1"], ["refresh"], ["prune"], ["gc"]]
)
def test_a_folder_that_is_none_is_a_sentence(
    tmp_path: Path, shell: Shell, arguments: list[str]
) -> None:
    """No specs folder: nothing is made there."""
    shell.root = tmp_path / "empty"
    shell.root.mkdir()
    code, _, err = shell(*arguments)
    assert (code, "there is no folder `specs`" in err) == (1, True)
    assert list(shell.root.iterdir()) == []


def test_an_invalid_spec_wants_nothing_and_hides_no_other(shell: Shell, sim: Simulator) -> None:
    """`retry` names an invalid spec, and orders about other specs work beside it."""
    shell.write("bad.yaml", "nonsense: true\n")
    shell.write("dance.yaml", FAILING)
    shell("apply", "--yes")
    code, _, err = shell("retry", "specs/bad.yaml", "--yes")
    assert (code, "`specs/bad.yaml` is invalid" in err) == (1, True)
    assert shell("retry", "specs/dance.yaml", "--yes")[0] == 3
    assert sim.requests()["create"] == 2


@pytest.mark.parametrize("arguments", [["retry"], ["import"], ["forget"], ["import", "--for", "x"]])
def test_a_command_that_is_told_nothing_is_wrong_usage(shell: Shell, arguments: list[str]) -> None:
    """An order without a spec or an id does nothing and ends with 64."""
    assert shell(*arguments)[0] == 64


# handed over


def test_a_running_daemon_does_it_and_the_answer_is_shown(shell: Shell, sim: Simulator) -> None:
    """One process writes: the order goes through its database, and comes back as the same sentences."""
    shell.write("dance.yaml")
    fail_once(sim)
    shell("apply", "--yes")
    name = shell.only()["external_task_id"]
    with a_daemon(shell.root) as verbs:
        code, out, err = shell("retry", "specs/dance.yaml", "--yes")
        assert code == 0
        assert "attempt 2 is wanted" in out
        assert "The running daemon did this" in out
        assert "about 5 units" in err
        assert shell.only()["status"] == "pending"
        assert shell("refresh")[0] == 0
        code, out, _ = shell("import", "867283741759111202")
        assert (code, "knows no task" in out) == (1, True)
        assert shell("forget", name, "--yes")[0] == 0
    assert verbs == ["retry", "refresh", "import", "forget"]
    assert sim.requests()["create"] == 1


def test_a_daemon_needs_no_key_of_the_command(
    shell: Shell, sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever gives the order need not be able to pay."""
    shell.write("dance.yaml", FAILING)
    shell("apply", "--yes")
    with a_daemon(shell.root) as verbs:
        real = {name: sim.env()[name] for name in ("KLING_ACCESS_KEY", "KLING_SECRET_KEY")}
        for name in real:
            monkeypatch.delenv(name)
        assert shell("retry", "specs/dance.yaml", "--yes")[0] == 0
    assert verbs == ["retry"]


def test_where_nobody_takes_orders_the_command_says_who_writes(
    shell: Shell, sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An `apply` has the lock: the order is taken back, so that nothing is done later behind one's back."""
    monkeypatch.setattr("reconciler.cli.order_commands._TAKEN", 0.2)
    shell.write("dance.yaml", FAILING)
    shell("apply", "--yes")
    with StateLock(shell.root / "state"):
        code, _, err = shell("retry", "specs/dance.yaml", "--yes")
    assert (code, "is already writing" in err) == (1, True)
    with open_queue(shell.root / "state/reconciler.db") as queue:
        assert queue is not None
        assert queue.pending() == []


def test_an_order_that_is_nonsense_is_answered_and_nothing_happens(
    shell: Shell, sim: Simulator
) -> None:
    """Any program of this user can write into the table; the answer is a refusal."""
    shell.write("dance.yaml")
    with a_daemon(shell.root) as verbs, open_queue(shell.root / "state/reconciler.db") as queue:
        assert queue is not None
        ticket = new_ticket()
        queue.put({"verb": "buy", "names": ["everything"]}, ticket)
        answer = None
        deadline = threading.Event()
        while answer is None and not deadline.wait(0.02):
            answer = queue.poll(ticket)
    assert answer is not None
    assert not Outcome.read(json.loads(json.dumps(answer))).ok
    assert verbs == ["buy"]
    assert sim.requests()["create_attempts"] == 0
