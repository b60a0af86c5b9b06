"""One process writes to a state folder, and the second one learns which."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from reconciler.core.errors import StateError, StateLocked
from reconciler.store.lock import StateLock, lock_holder

from .builders import plain_user

_HOLD = """
import sys, time
from pathlib import Path
from reconciler.store.lock import StateLock
with StateLock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@contextmanager
def _holder(folder: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", _HOLD, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_second_process_is_told_the_pid_of_the_first(tmp_path: Path) -> None:
    """While one process holds the lock another gets an error that names it and says what to do."""
    with _holder(tmp_path) as process:
        with pytest.raises(StateLocked, match=rf"Process {process.pid} ") as caught:
            StateLock(tmp_path).acquire()
        assert caught.value.hint


def test_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    """Nothing needs a clean exit: after SIGKILL the next process takes the lock at once."""
    with _holder(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        with StateLock(tmp_path):
            assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"


def test_lock_is_free_again_after_release(tmp_path: Path) -> None:
    """A released lock can be taken again; the file stays, and names nobody."""
    lock = StateLock(tmp_path / "new" / "state")
    with lock:
        pass
    lock.release()
    assert (tmp_path / "new" / "state" / "lock").read_text() == ""
    with lock:
        pass


def test_lock_is_not_inherited_by_programs_that_are_started(tmp_path: Path) -> None:
    """A program that was started while the lock was held does not keep it."""
    lock = StateLock(tmp_path)
    lock.acquire()
    with subprocess.Popen(["sleep", "60"]) as child:
        lock.release()
        with StateLock(tmp_path):
            held = (tmp_path / "lock").read_text()
            outlived = child.poll() is None
            child.kill()
    assert outlived
    assert held == f"{os.getpid()}\n"


def test_planted_link_is_refused_and_its_target_untouched(tmp_path: Path) -> None:
    """A symbolic link in the lock's place is refused, and what it leads to keeps its bytes."""
    outside = tmp_path / "outside"
    outside.write_text("precious")
    state = tmp_path / "state"
    state.mkdir()
    (state / "lock").symlink_to(outside)
    with pytest.raises(StateError, match="not a regular file"):
        StateLock(state).acquire()
    assert outside.read_text() == "precious"


@pytest.mark.parametrize("plant", [os.mkfifo, os.mkdir])
def test_planted_fifo_or_folder_is_refused(tmp_path: Path, plant: object) -> None:
    """A FIFO or a folder in the lock's place is refused with a sentence, without hanging."""
    assert callable(plant)
    plant(tmp_path / "lock")
    with pytest.raises(StateError, match="not a regular file") as caught:
        StateLock(tmp_path).acquire()
    assert not isinstance(caught.value, StateLocked)


def test_folder_that_cannot_be_written_is_said(open_folder: Path) -> None:
    """A read-only state folder is an error with a hint, not a traceback."""
    open_folder.chmod(0o555)
    with (
        plain_user(open_folder),
        pytest.raises(StateError, match="cannot be used: Permission denied") as caught,
    ):
        StateLock(open_folder).acquire()
    assert "RECONCILER_STATE_DIR" in caught.value.hint


def test_looking_names_the_holder_and_takes_nothing(tmp_path: Path) -> None:
    """Whoever looks learns the holder's process id; the holder keeps the lock, and nothing is created."""
    assert lock_holder(tmp_path / "state") is None
    assert list(tmp_path.iterdir()) == []
    with _holder(tmp_path) as process:
        assert lock_holder(tmp_path) == lock_holder(tmp_path) == f"Process {process.pid}"
        with pytest.raises(StateLocked):
            StateLock(tmp_path).acquire()
        process.kill()
        process.wait()
        assert lock_holder(tmp_path) is None
    assert lock_holder(tmp_path) is None
    with StateLock(tmp_path):
        assert lock_holder(tmp_path) == f"Process {os.getpid()}"
    assert lock_holder(tmp_path) is None


def test_holder_that_has_not_said_its_name_is_another_process(tmp_path: Path) -> None:
    """Between taking the lock and writing the process id there is a holder without a number."""
    with StateLock(tmp_path):
        (tmp_path / "lock").write_text("")
        assert lock_holder(tmp_path) == "Another process"


@pytest.mark.parametrize("left", ["", "999999999\n", "9" * 30, "nonsense"])
def test_look_that_is_held_up_is_waited_for(tmp_path: Path, left: str) -> None:
    """On a busy machine somebody who looks may be slow; whatever a dead holder left, that is no refusal."""
    path = tmp_path / "lock"
    path.write_text(left)
    with path.open() as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        end = threading.Timer(0.2, fcntl.flock, [looking, fcntl.LOCK_UN])
        end.start()
        with StateLock(tmp_path):
            assert path.read_text() == f"{os.getpid()}\n"
        end.join()


def test_those_who_look_do_not_see_each_other(tmp_path: Path) -> None:
    """However many look at a free lock at once, each sees that it is free."""
    with StateLock(tmp_path):
        pass
    with ThreadPoolExecutor(4) as lookers:
        seen = list(lookers.map(lambda _: lock_holder(tmp_path), range(4000)))
    assert set(seen) == {None}


def test_looking_never_keeps_a_process_from_the_lock(tmp_path: Path) -> None:
    """However often others look, the lock is taken at the first try, and they never see a wrong holder."""
    ended = threading.Event()
    seen: set[str | None] = set()

    def look() -> None:
        while not ended.is_set():
            seen.add(lock_holder(tmp_path))

    lookers = [threading.Thread(target=look) for _ in range(2)]
    for looker in lookers:
        looker.start()
    try:
        for _ in range(300):
            with StateLock(tmp_path):
                pass
    finally:
        ended.set()
        for looker in lookers:
            looker.join()
    assert seen <= {None, "Another process", f"Process {os.getpid()}"}
    assert None in seen


@pytest.mark.parametrize("plant", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/null")])
def test_looking_at_a_planted_lock_is_refused(
    tmp_path: Path, plant: Callable[[Path], None]
) -> None:
    """A FIFO, a folder or a link in the lock's place is a sentence, without hanging."""
    plant(tmp_path / "lock")
    with pytest.raises(StateError, match="not a regular file"):
        lock_holder(tmp_path)


def test_lock_that_cannot_be_looked_at_is_said(open_folder: Path) -> None:
    """A lock of somebody else's that may not be read is an error with a hint."""
    with StateLock(open_folder):
        pass
    (open_folder / "lock").chmod(0o000)
    with (
        plain_user(open_folder),
        pytest.raises(StateError, match="cannot be accessed: Permission denied") as caught,
    ):
        lock_holder(open_folder)
    assert caught.value.hint
