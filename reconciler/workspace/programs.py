"""The other programs that are started: what they get of our environment, and asking `git` one question at a time.

Nobody gets a key, whatever it is called: the environment is an allow-list. Git is asked without a shell, a terminal, or
anything that it writes. It reads its settings where its user keeps them (system, user, the repository's own `config`,
which nobody can commit): a filter that they define, LFS for one, runs; what a commit brings can only name it. Hooks, a
file system monitor, other machines and repositories that nobody named are out of the question.
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
# What such names begin with; the last: for whom `sudo` runs us owns the folder.
_KEPT = ("GIT_CONFIG", "GIT_EXEC_PATH", "SUDO_UID")
_SET = {
    "LC_ALL": "C",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_ALLOW_PROTOCOL": "none",  # what of it older versions do not know
}


def environment(ours: Mapping[str, str]) -> dict[str, str]:
    """Return the little that another program needs: where its user, its language, its terminal and its libraries are.

    Of lists of folders only absolute ones stay: others would be looked up where the program is started.
    """
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
    """What git is asked at the moment, in whatever threads; abandoned, nothing more can be asked."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked: set[subprocess.Popen[bytes]] = set()
        self._over = False

    def ask(self, folder: Path, arguments: Collection[str]) -> tuple[int, bytes, bytes]:
        """Return git's exit code and what it printed, once it ended or was abandoned; raises `TimeoutExpired`, `OSError`."""
        # Nothing points it elsewhere (we may run in a hook); above a folder it never looks.
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
        """End everything that is under way."""
        with self._lock:
            self._over = True
            for process in self._asked:
                _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.returncode is None:  # else its number may be somebody else's by now
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def ask_git(folder: Path, *arguments: str, questions: Questions | None = None) -> bytes:
    """Return what git prints. Raises `GitRefused`, and `WorkspaceError` when there is no git or no end."""
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
