"""What needs no layout: lines, errors, JSON, a question, exit codes; results on stdout, everything else on stderr."""

from __future__ import annotations

import codecs
import json
import os
import sys
from enum import IntEnum

import typer

from reconciler.core.errors import ReconcilerError
from reconciler.core.printable import printable, printable_lines

_COLOURED = {"FORCE_COLOR", "TTY_COMPATIBLE"}  # variables that ask for colours where no terminal is


class ExitCode(IntEnum):
    """The exit codes of commands."""

    DONE = 0
    ERROR = 1
    CHANGES = 2  # plan --detailed-exitcode
    NEEDS_SOMEBODY = 3  # `apply` ended, and something failed, expired, is invalid or blocked
    TIMED_OUT = 4
    USAGE = 64
    INTERRUPTED = 130


def say(line: str, *, stderr: bool = False) -> None:
    """Print a line on stdout or stderr, escaped and without markup."""
    stream = sys.stderr if stderr else sys.stdout
    stream.write(f"{printable(line)}\n")
    stream.flush()  # as the console does: in the order in which it was said


def tell(word: str, colour: str, line: str) -> None:
    """Print a line on stderr, as `error: …`, with the word in a colour where there are colours."""
    if sys.stderr.isatty() or _COLOURED & os.environ.keys():
        from rich.markup import escape

        from reconciler.cli.console import err

        err.print(f"[{colour}]{word}:[/] {escape(line)}")
    else:
        say(f"{word}: {line}", stderr=True)


def print_error(message: str, hint: str = "") -> None:
    """Print an error and its hint on stderr."""
    tell("error", "bold red", message.rstrip("."))
    if hint:
        say(f"       {hint}", stderr=True)


def warn(message: str) -> None:
    """Print a warning on stderr."""
    tell("warning", "bold yellow", message)


def note(message: str) -> None:
    """Print a note on stderr; it changes no exit code."""
    tell("note", "yellow", message)


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
        say(f"{otherwise[:1].upper()}{otherwise[1:]}.", stderr=True)
        if as_json:
            print_json(error_document(otherwise, ""))
        raise typer.Exit(ExitCode.ERROR)
