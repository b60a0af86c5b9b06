"""One process writes to a state folder, and the second one learns which."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reconciler.core.errors import StateError, StateLocked
from reconciler.store.lock import StateLock

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
