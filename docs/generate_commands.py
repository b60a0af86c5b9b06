"""Writes `docs/commands.md` out of what the commands' own `--help` says; `--check` only compares.

    .venv/bin/python docs/generate_commands.py

The words are the program's: correct them where they stand, in `reconciler/cli/`, and run this again.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from pathlib import Path
from unittest import mock

PAGE = Path(__file__).with_name("commands.md")
HEAD = """\
# Commands

Made by `docs/generate_commands.py` from the program's own `--help`; do not edit it by hand.
What the exit codes mean is in [operations.md](operations.md#exit-codes).
"""
_PLAIN = {"COLUMNS": "80", "TERM": "dumb", "NO_COLOR": "1", "LC_ALL": "C.UTF-8"}
_COMMAND = re.compile(r"^  ([a-z][a-z-]*)(?:  |$)", re.MULTILINE)


def page() -> str:
    """Return the page as it should be."""
    overview = help_of()
    parts = [HEAD, _section("reconciler", overview)]
    parts += [_section(f"reconciler {name}", help_of(name)) for name in commands(overview)]
    return "\n".join(parts)


def commands(overview: str) -> list[str]:
    """Return the commands in the order in which `--help` lists them."""
    return _COMMAND.findall(overview.partition("Commands:")[2])


def help_of(*command: str) -> str:
    """Return what `--help` says, at a fixed width and without colours."""
    from reconciler.cli.main import run

    printed = io.StringIO()
    with mock.patch.dict(os.environ, _PLAIN), contextlib.redirect_stdout(printed):
        run([*command, "--help"])
    return "\n".join(line.rstrip() for line in printed.getvalue().strip().splitlines())


def _section(title: str, text: str) -> str:
    return f"## {title}\n\n```text\n{text}\n```\n"


def main() -> int:
    """Write the page, or with `--check` say whether it is what it should be."""
    wanted = page()
    if sys.argv[1:] == ["--check"]:
        return int(PAGE.read_text(encoding="utf-8") != wanted)
    PAGE.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
