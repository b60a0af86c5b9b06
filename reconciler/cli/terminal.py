"""What reaches the terminal, and what a command's end means to a script: results on stdout, everything else on stderr.

Whatever is printed here is a line, whoever's words are in it: what would be anything else is escaped at this one place.
"""

from __future__ import annotations

import codecs
import io
import json
import sys
from collections.abc import Iterable
from enum import IntEnum
from typing import IO, Annotated, Any, cast

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape
from rich.segment import Segment
from rich.text import Text

from reconciler.core.errors import ReconcilerError
from reconciler.core.printable import printable, printable_lines

_WIDE = 400  # columns, where no terminal wraps: a line of a pipe is a record
AsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on stdout, and nothing else.")
]


class _Rendered:
    """A standard stream, for what the console has made of texts: its colours are to reach the terminal."""

    def __init__(self, stream: io.TextIOWrapper) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return io.TextIOWrapper.write(self._stream, text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Console(Console):
    """A console to which a string is one line, also in a cell of a table."""

    @property  # type: ignore[misc]  # nobody gives ours another one
    def file(self) -> IO[str]:
        """The stream of now; past what it escapes of others."""
        stream = super().file
        if isinstance(stream, io.TextIOWrapper):
            return cast("IO[str]", _Rendered(stream))
        return stream

    def render_str(self, text: str, **options: Any) -> Text:
        """Return the text that a string with markup stands for, escaped before anything measures it."""
        return super().render_str(printable(text), **options)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Yield what is to be written; what came around `render_str` is escaped here, and may be cut in a cell."""
        for segment in super().render(renderable, options):
            text = segment.text if segment.control else printable_lines(segment.text)
            yield segment if text == segment.text else Segment(text, segment.style)


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    return _Console(
        stderr=stderr,
        highlight=False,
        emoji=False,
        soft_wrap=True,
        width=None if stream.isatty() else _WIDE,
    )


out = _console(stderr=False)
err = _console(stderr=True)


def print_json(document: object, *, indent: int | None = 2) -> None:
    """Print one JSON document on stdout, in UTF-8 or, where that is not how stdout is written, in ASCII.

    What cannot be printed stands in its strings as escapes.
    """
    encoding = sys.stdout.encoding
    is_ascii = encoding is not None and codecs.lookup(encoding).name != "utf-8"
    text = json.dumps(document, indent=indent, ensure_ascii=is_ascii, sort_keys=True)
    sys.stdout.write(f"{printable_lines(text)}\n")


def os_error(error: OSError) -> str:
    """Return what the system says, and of which file."""
    at = f"`{error.filename}`: " if error.filename else ""
    return at + (error.strerror or str(error))


def error_document(message: str, hint: str) -> dict[str, object]:
    """Return what `--json` prints of an error."""
    return {"error": {"message": message, "hint": hint}}


def warn(message: str) -> None:
    """Print on stderr what may surprise somebody."""
    err.print(f"[bold yellow]warning:[/] {escape(message)}")


def note(message: str) -> None:
    """Print on stderr what somebody may want to know; it changes no exit code."""
    err.print(f"[yellow]note:[/] {escape(message)}")


def print_error(message: str, hint: str = "") -> None:
    """Print one sentence on stderr, and what to do."""
    err.print(f"[bold red]error:[/] {escape(message.rstrip('.'))}")
    if hint:
        err.print(f"       {escape(hint)}")


def is_interactive() -> bool:
    """Whether somebody can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def agree(
    question: str,
    *,
    yes: bool,
    otherwise: str,
    hint: str = "Use `--yes` to go on without being asked.",
    as_json: bool = False,
) -> None:
    """Ask somebody, on stderr, unless `--yes` was given; ends the command where the answer is no.

    `otherwise` says what has not happened then, as `nothing was removed`. Raises ReconcilerError where nobody can be asked.
    """
    if yes:
        return
    if not is_interactive():
        raise ReconcilerError(f"there is nobody to ask, so {otherwise}", hint=hint)
    if not typer.confirm(printable(question), err=True):
        err.print(f"{otherwise[:1].upper()}{otherwise[1:]}.")
        if as_json:
            print_json(error_document(otherwise, ""))
        raise typer.Exit(ExitCode.ERROR)


class ExitCode(IntEnum):
    """What a command's end means."""

    DONE = 0
    ERROR = 1
    CHANGES = 2  # plan --detailed-exitcode
    # `apply` settled, and something is failed, rejected, expired, invalid or blocked.
    NEEDS_SOMEBODY = 3
    TIMED_OUT = 4
    USAGE = 64
    INTERRUPTED = 130
