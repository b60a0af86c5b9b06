"""The console, which escapes every text, and the exit codes: results on stdout, everything else on stderr."""

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
    """A standard stream for the console's own output, whose colours are not escaped."""

    def __init__(self, stream: io.TextIOWrapper) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return io.TextIOWrapper.write(self._stream, text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Console(Console):
    """A console that escapes every string, also in a cell of a table."""

    @property  # type: ignore[misc]  # ours is never set
    def file(self) -> IO[str]:
        """The current stream; output of the console is not escaped a second time."""
        stream = super().file
        if isinstance(stream, io.TextIOWrapper):
            return cast("IO[str]", _Rendered(stream))
        return stream

    def render_str(self, text: str, **options: Any) -> Text:
        """Return the text of a string with markup, escaped before it is measured."""
        return super().render_str(printable(text), **options)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Yield the segments to write; those that did not come through `render_str` are escaped here."""
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
    """Print one JSON document on stdout: in UTF-8, or in ASCII where stdout has another encoding."""
    encoding = sys.stdout.encoding
    is_ascii = encoding is not None and codecs.lookup(encoding).name != "utf-8"
    text = json.dumps(document, indent=indent, ensure_ascii=is_ascii, sort_keys=True)
    sys.stdout.write(f"{printable_lines(text)}\n")


def os_error(error: OSError) -> str:
    """Return the system's message, and the file it is about."""
    at = f"`{error.filename}`: " if error.filename else ""
    return at + (error.strerror or str(error))


def error_document(message: str, hint: str) -> dict[str, object]:
    """Return the document of an error for `--json`."""
    return {"error": {"message": message, "hint": hint}}


def warn(message: str) -> None:
    """Print a warning on stderr."""
    err.print(f"[bold yellow]warning:[/] {escape(message)}")


def note(message: str) -> None:
    """Print a note on stderr; it changes no exit code."""
    err.print(f"[yellow]note:[/] {escape(message)}")


def print_error(message: str, hint: str = "") -> None:
    """Print an error and its hint on stderr."""
    err.print(f"[bold red]error:[/] {escape(message.rstrip('.'))}")
    if hint:
        err.print(f"       {escape(hint)}")


def is_interactive() -> bool:
    """Whether the user can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def agree(
    question: str,
    *,
    yes: bool,
    otherwise: str,
    hint: str = "Use `--yes` to go on without being asked.",
    as_json: bool = False,
) -> None:
    """Ask the user on stderr, unless `--yes` was given; a no ends the command.

    `otherwise` says what was not done, as `nothing was removed`. Raises ReconcilerError: there is no terminal to ask on.
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
    """The exit codes of commands."""

    DONE = 0
    ERROR = 1
    CHANGES = 2  # plan --detailed-exitcode
    NEEDS_SOMEBODY = 3  # `apply` ended, and something failed, expired, is invalid or blocked
    TIMED_OUT = 4
    USAGE = 64
    INTERRUPTED = 130
