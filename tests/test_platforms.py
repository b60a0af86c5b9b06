"""What differs on systems that CI does not have: each is put in the place of ours, and what is promised still holds."""

from __future__ import annotations

import errno
import fcntl
import os
import time
import unicodedata
from pathlib import Path

import pytest
from watchdog import observers
from watchdog.observers.polling import PollingObserver

from reconciler import disk
from reconciler.cli.running import SteadyClock
from reconciler.core.motion_control import UNITS_PER_SECOND
from reconciler.store import objects as objects_module
from reconciler.store.lock import StateLock
from reconciler.store.objects import ObjectStore
from reconciler.workspace.read.loader import load
from reconciler.workspace.watch.watcher import Watcher
from tests.engine.world import SPEC

_FULL_SYNC = 51  # F_FULLFSYNC of macOS


class Drive:
    """A drive that notes how it was told to keep what it was given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, refuses: int = 0) -> None:
        self.told: list[str] = []
        self._refuses = refuses
        monkeypatch.setattr(disk, "_FULL_SYNC", _FULL_SYNC)
        monkeypatch.setattr(fcntl, "fcntl", self._control)
        monkeypatch.setattr(os, "fsync", lambda _: self.told.append("fsync"))

    def _control(self, descriptor: int, command: int) -> int:
        assert os.fstat(descriptor)
        assert command == _FULL_SYNC
        if self._refuses:
            raise OSError(self._refuses, os.strerror(self._refuses))
        self.told.append("full")
        return 0


def test_on_macos_the_drive_is_told_to_empty_its_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file and its folder go through F_FULLFSYNC: a plain `fsync` ends at the drive's cache there."""
    store = ObjectStore(tmp_path / "objects")
    part = store.partial("one")
    part.restart("")
    part.write(b"bytes")
    drive = Drive(monkeypatch)
    store.adopt(part)
    assert drive.told
    assert set(drive.told) == {"full"}


@pytest.mark.parametrize("refusal", [errno.ENOTSUP, errno.EINVAL, errno.ENOTTY])
def test_a_file_system_that_does_not_take_it_gets_a_plain_fsync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: int
) -> None:
    """Where macOS's full flush is refused, what was written is still flushed, and nobody sees an error."""
    drive = Drive(monkeypatch, refusal)
    disk.sync_folder(tmp_path)
    assert drive.told == ["fsync"]


def test_a_drive_that_fails_is_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What could not be kept is never said to be."""
    drive = Drive(monkeypatch, errno.EIO)
    with pytest.raises(OSError, match="Input/output"):
        disk.sync_folder(tmp_path)
    assert drive.told == []


def test_without_any_events_everything_is_looked_at_now_and_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said once, with no word of a mistake, and `watch` knows that nobody notifies it."""
    monkeypatch.setattr(observers, "Observer", PollingObserver)
    (tmp_path / "specs").mkdir()
    said: list[str] = []
    watcher = Watcher(
        tmp_path, "specs", ignored=[], wake=lambda: None, trouble=said.append, has_inotify=False
    )
    watcher.revive()
    watcher.revive()
    assert not watcher.is_notified
    watcher.stop()
    assert said == [
        "this system has no inotify, so changes are found by looking at everything now and then"
    ]


def test_where_no_start_of_the_machine_can_be_told_a_download_begins_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes that a power cut may have taken out of the middle are never continued."""
    monkeypatch.setattr(objects_module, "_BOOT_ID", tmp_path / "nowhere")
    first = ObjectStore(tmp_path / "objects").partial("one")
    first.restart('"etag"')
    first.write(b"half")
    first.close()
    again = ObjectStore(tmp_path / "objects").partial("one")
    assert again.validator == ""
    again.close()


def test_the_lock_is_one_that_every_posix_system_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`flock` and nothing of Linux alone: no open-file-description lock, no abstract socket, no /proc."""
    real = fcntl.flock
    kinds: list[int] = []

    def noted(descriptor: int, kind: int) -> None:
        kinds.append(kind)
        real(descriptor, kind)

    monkeypatch.setattr(fcntl, "flock", noted)
    monkeypatch.setattr(fcntl, "fcntl", None)
    monkeypatch.setattr(fcntl, "lockf", None)
    with StateLock(tmp_path / "state"):
        pass
    assert kinds


def test_the_clock_of_a_run_needs_nothing_of_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without CLOCK_BOOTTIME it counts by CLOCK_MONOTONIC, which goes on while macOS sleeps, and never jumps."""
    with monkeypatch.context() as patched:
        patched.delattr(time, "CLOCK_BOOTTIME", raising=False)
        steady = SteadyClock()
        before = steady()
        patched.setattr(time, "time", lambda: 0.0)
        assert 0 <= steady() - before < 60_000


def test_names_that_differ_in_case_alone_never_share_an_output(tmp_path: Path) -> None:
    """On a file system that knows no case both would be one file: the second is refused, on every system."""
    for name in ("dance", "Dance"):
        (tmp_path / "specs").mkdir(exist_ok=True)
        text = SPEC.format(image="girl", prompt=name)
        (tmp_path / "specs" / f"{name}.yaml").write_text(text)
    desired = load(tmp_path, "specs", prices=UNITS_PER_SECOND)
    assert sum(len(problems) for problems in desired.invalid.values()) >= 1


def test_a_name_is_used_as_the_file_system_spells_it(tmp_path: Path) -> None:
    """A Mac may give `é` in two characters: the outputs are spelt as the spec is, so they stand beside it."""
    for form in ("NFC", "NFD"):
        name = unicodedata.normalize(form, f"caf\u00e9-{form}")
        (tmp_path / "specs").mkdir(exist_ok=True)
        text = SPEC.format(image="girl", prompt=form)
        (tmp_path / "specs" / f"{name}.yaml").write_text(text)
        (wish,) = (
            wish
            for wish in load(tmp_path, "specs", prices=UNITS_PER_SECOND).generations
            if wish.spec == f"specs/{name}.yaml"
        )
        assert next(path for _, path in wish.outputs) == f"specs/{name}.mp4"
