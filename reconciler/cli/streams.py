"""The standard streams, made safe before anything else runs: lost output never stops the work.

What cannot be written is lost, and the exit code says so. What libraries print cannot command the terminal.
"""

from __future__ import annotations

import codecs
import io
import locale
import os
import select
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from reconciler.core.printable import printable_lines

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_NAMES = ("stdin", "stdout", "stderr")
_ERRORS = "reconciler.plain"
_SIGNS = {"✓": "+", "✗": "x", "·": "-", "…": "..."}
"""For encodings without the signs of this program; other letters become escapes."""
_GONE = select.POLLERR | select.POLLHUP


class _Descriptor(io.FileIO):
    """A descriptor whose writes never fail: the first error is kept."""

    failure: OSError | None = None  # the first

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            while (written := super().write(data)) is None:  # another program made it non-blocking
                select.select([], [self], [])
        except OSError as error:
            self.failure = self.failure or error
            return memoryview(data).nbytes
        return written


class _Text(io.TextIOWrapper):
    """Text whose control characters and commands are escaped."""

    def write(self, text: str, /) -> int:
        super().write(printable_lines(text))
        return len(text)


def secure() -> None:
    """Make the three streams safe, before anything else runs; may start the process again (for UTF-8 file names)."""
    codecs.register_error(_ERRORS, _plainly)
    for name in _NAMES:
        if getattr(sys, name) is None:
            # Else the next file, such as the database, would get the closed stream's number, and its text.
            descriptor = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(descriptor, True)
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, open(descriptor, mode, closefd=False))  # noqa: SIM115 - a descriptor, for as long as we live
    _read_names_as_utf8()
    for name in _NAMES[1:]:
        stream = getattr(sys, name)
        with suppress(OSError, ValueError):
            stream.flush()
        writer = io.BufferedWriter(_Descriptor(stream.fileno(), "w", closefd=False))
        # JSON needs an encoding that is a superset of ASCII, unlike UTF-16.
        encoding = stream.encoding if "{}".encode(stream.encoding) == b"{}" else "utf-8"
        how = {"line_buffering": stream.line_buffering, "write_through": stream.write_through}
        setattr(sys, name, _Text(writer, encoding, _ERRORS, **how))


def is_cut_off() -> bool:
    """Whether stdout has no reader any more."""
    try:
        number = sys.stdout.fileno()
    except (OSError, ValueError):  # it is no file
        return False
    poll = select.poll()
    poll.register(number, 0)
    return _failure() is not None or any(what & _GONE for _, what in poll.poll(0))


def end(code: int) -> int:
    """Flush stdout; return the exit code, 1 where output was lost. A reader that left (as `head` does) is no error."""
    sys.stdout.flush()
    failure = _failure()
    if failure is not None and not isinstance(failure, BrokenPipeError):
        sys.stderr.write(
            f"error: stdout could not be written: {failure.strerror}\n"
            "       Only the output is lost; what was sent is on record.\n"
        )
        code = 1
    sys.stderr.flush()
    return code


def _failure() -> OSError | None:
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return raw.failure if isinstance(raw, _Descriptor) else None


def _read_names_as_utf8() -> None:
    """Start the process again where the locale reads file names otherwise: the state names files in UTF-8."""
    if sys.flags.utf8_mode or sys.getfilesystemencoding() == "utf-8":
        return
    os.environ.setdefault("PYTHONIOENCODING", locale.getencoding())  # text goes on as it was
    with suppress(OSError):
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])  # noqa: S606 - ourselves


def _plainly(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    plain = (_SIGNS.get(one) or one.encode("ascii", "backslashreplace").decode() for one in letters)
    return "".join(plain), error.end
