"""What reaches the terminal: results on stdout, everything else on stderr; colours only for a person."""

from __future__ import annotations

import codecs
import json
import sys

from rich.console import Console
from rich.markup import escape

_WIDE = 400  # columns, where no terminal wraps: a line of a pipe is a record


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    return Console(
        stderr=stderr, highlight=False, soft_wrap=True, width=None if stream.isatty() else _WIDE
    )


out = _console(stderr=False)
err = _console(stderr=True)


def print_json(document: object, *, indent: int | None = 2) -> None:
    """Print one JSON document on stdout, in UTF-8 or, where that is not how stdout is written, in ASCII."""
    text = json.dumps(document, indent=indent, ensure_ascii=False, sort_keys=True)
    if not _is_utf8(sys.stdout.encoding, text):
        text = json.dumps(document, indent=indent, sort_keys=True)
    sys.stdout.write(f"{text}\n")


def _is_utf8(encoding: str | None, text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # a name that is no UTF-8 is in it
        return False
    return encoding is None or codecs.lookup(encoding).name == "utf-8"


def print_error(message: str, hint: str = "") -> None:
    """Print one sentence on stderr, and what to do."""
    err.print(f"[bold red]error:[/] {escape(message.rstrip('.'))}")
    if hint:
        err.print(f"       {escape(hint)}")


def is_interactive() -> bool:
    """Whether somebody can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()
