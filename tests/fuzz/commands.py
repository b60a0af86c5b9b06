"""The command line in this process, and what holds of every command whatever it was given."""

from __future__ import annotations

import contextlib
import io
import json
import resource
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from reconciler.cli.main import run

CODES: Final = frozenset({0, 1, 2, 3, 4, 64})
"""The documented exit codes of a command that nobody interrupts."""
LONGEST: Final = 20.0
"""Seconds after which a command is taken to hang."""
MOST: Final = 400 * 1024
"""KiB by which the memory of this process may grow in one command."""


class TooLong(BaseException):
    """A command did not end; not an Exception, which the command line would turn into a sentence."""


@dataclass(frozen=True)
class Said:
    """A command that has ended as documented."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The JSON document on stdout."""
        document: dict[str, Any] = json.loads(self.out)
        return document


def said(root: Path, *arguments: str) -> Said:
    """Run a command; fails where it shows a traceback or a mistake of ours, does not end, or fills the memory."""
    with bounded(), _captured() as (out, err):
        code = run(["--root", str(root), *arguments])
    done = Said(code, out.getvalue(), err.getvalue())
    for text in (done.out, done.err):
        assert "Traceback" not in text, text
        assert "mistake in reconciler" not in text, text
        text.encode()  # no half of a surrogate pair: a terminal could not show it
    assert done.code in CODES, done
    if "--json" in arguments:
        assert isinstance(json.loads(done.out), dict), done
    return done


@contextlib.contextmanager
def bounded(seconds: float = LONGEST, most: int = MOST) -> Iterator[None]:
    """Let a block take so long, and so much memory (KiB), and no more."""

    def late(*_: object) -> None:
        raise TooLong

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    earlier = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, earlier)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < most, f"{grown} KiB more"


@contextlib.contextmanager
def _captured() -> Iterator[tuple[io.StringIO, io.StringIO]]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        yield out, err
