"""The other programs that are started: what they get of our environment, and asking `git` one question at a time.

No program gets a key: the environment is an allow-list. Git runs without a shell or a terminal, and writes nothing. It
reads the settings of the system, the user and the repository's own `config`, which no commit can hold: a filter defined
there (LFS) runs, and a commit can only name it. Hooks, a file system monitor and other machines are switched off.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

from reconciler.core.errors import WorkspaceError
from reconciler.core.printable import printable

_PASSED: Final = {
    *("HOME", "USER", "LOGNAME", "LANG", "TMPDIR", "TZ", "SYSTEMROOT"),
    *("TERM", "COLORTERM", "COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR"),
}
_KINDS: Final = ("LC_", "XDG_")  # what such names begin with
_PATHS: Final = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")

TIMEOUT = 60.0  # seconds for one question
OTHERWISE = "or unset RECONCILER_REQUIRE_COMMITTED"

_COMMAND = (
    *("git", "--no-optional-locks", "--literal-pathspecs"),
    *("-c", "safe.bareRepository=explicit", "-c", "core.fsmonitor=false"),
    *("-c", f"core.hooksPath={os.devnull}"),
)
# What names of git's own variables begin with; SUDO_UID: the user behind `sudo` owns the folder.
_KEPT = ("GIT_CONFIG", "GIT_EXEC_PATH", "SUDO_UID")
_SET = {
    "LC_ALL": "C",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_ALLOW_PROTOCOL": "none",  # for versions without GIT_NO_LAZY_FETCH
}


def environment(ours: Mapping[str, str]) -> dict[str, str]:
    """Return the part of our environment that another program may see; of lists of folders, the absolute ones."""
    passed = {
        name: text for name, text in ours.items() if name in _PASSED or name.startswith(_KINDS)
    }
    for name in _PATHS:
        folders = [folder for folder in ours.get(name, "").split(":") if Path(folder).is_absolute()]
        if folders or (name == "PATH" and name in ours):
            passed[name] = ":".join(folders)
    return passed


class GitRefused(Exception):
    """Git ended with an error; what it said is the message."""


class Questions:
    """The git processes that run now, for any thread; once abandoned, no more are started."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked: set[subprocess.Popen[bytes]] = set()
        self._over = False

    def ask(self, folder: Path, arguments: Collection[str]) -> tuple[int, bytes, bytes]:
        """Return git's exit code, stdout and stderr, once it ended. Raises `TimeoutExpired`, OSError, `WorkspaceError`."""
        # We may run in a hook, whose GIT_DIR would point git elsewhere; and git never looks above the folder.
        ours = {name: value for name, value in os.environ.items() if name.startswith(_KEPT)}
        ours["GIT_CEILING_DIRECTORIES"] = str(folder.parent)
        with self._lock:
            if self._over:
                raise WorkspaceError("git is not asked any more: the program is leaving")
            process = subprocess.Popen(  # noqa: S603 - no shell; names stand after `--`
                [*_COMMAND, *arguments],
                cwd=folder,
                env=environment(os.environ) | ours | _SET,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,  # so that what git starts ends with it
            )
            self._asked.add(process)
        try:
            printed, complained = process.communicate(timeout=TIMEOUT)
        except BaseException:
            _end(process)
            process.communicate()
            raise
        finally:
            with self._lock:
                self._asked.discard(process)
        return process.returncode, printed, complained

    def abandon(self) -> None:
        """End every process, and start no more."""
        with self._lock:
            self._over = True
            for process in self._asked:
                _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.returncode is None:  # else its number may be another process's by now
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def ask_git(folder: Path, *arguments: str, questions: Questions | None = None) -> bytes:
    """Return what git prints. Raises `GitRefused`, and `WorkspaceError` where it cannot start or takes too long."""
    try:
        code, printed, complained = (questions or Questions()).ask(folder, arguments)
    except subprocess.TimeoutExpired as error:
        raise WorkspaceError(
            f"git did not answer within {TIMEOUT:.0f} s about `{folder}`",
            hint=f"See whether `git status` ends there, {OTHERWISE}.",
        ) from error
    except OSError as error:
        if not folder.is_dir():
            raise WorkspaceError(f"`{folder}` is not a folder", hint="Check the path.") from error
        raise WorkspaceError(
            "git cannot be started, and without it nobody knows what is committed",
            hint=f"Install git, {OTHERWISE}.",
        ) from error
    if code < 0:
        raise GitRefused(f"it was ended by signal {-code}")
    if code:
        lines = complained.decode("utf-8", "replace").splitlines() or [""]
        told = next((line for line in lines if line.startswith("fatal: ")), lines[0])
        raise GitRefused(printable(told.removeprefix("fatal: ")[:300]))
    return printed
