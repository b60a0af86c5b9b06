"""The one place where a command is run, and where an error becomes a sentence and an exit code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import typer

from reconciler.cli.commands import command_line
from reconciler.cli.terminal import ExitCode, error_document, os_error, print_error, print_json
from reconciler.core.errors import ReconcilerError, mistake

# Typer names only the subclass.
UsageError = cast("type[typer.BadParameter]", typer.BadParameter.__mro__[1])


def run(arguments: Sequence[str]) -> int:
    """Run one command; never raises, never shows a traceback."""
    as_json = "--json" in arguments
    try:
        line = command_line(*arguments[:1])
        code = line.main(list(arguments), prog_name="reconciler", standalone_mode=False)
    except ReconcilerError as error:
        return _fail(error.message, error.hint, as_json=as_json)
    except (typer.Abort, KeyboardInterrupt):
        print_error("interrupted", "What is in flight is on record; run again to go on.")
        return ExitCode.INTERRUPTED
    except UsageError as error:
        _fail(error.format_message(), "See `reconciler --help`.", as_json=as_json)
        return ExitCode.USAGE
    except OSError as error:
        return _fail(os_error(error), "Nothing is lost; run again.", as_json=as_json)
    except Exception as error:  # noqa: BLE001 - the last door: the user gets a sentence, never a traceback
        hint = "Nothing is lost: what was sent is on record. Name the command that you ran."
        return _fail(mistake(error), hint, as_json=as_json)
    return int(code or 0)


def _fail(message: str, hint: str, *, as_json: bool) -> int:
    if as_json:
        print_json(error_document(message, hint))
    print_error(message, hint)
    return ExitCode.ERROR
