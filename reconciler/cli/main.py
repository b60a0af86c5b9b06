"""The commands, and the one place where an error becomes a sentence and an exit code."""

from __future__ import annotations

import platform
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module, metadata
from keyword import iskeyword
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from reconciler.cli.terminal import ExitCode, error_document, os_error, out, print_error, print_json
from reconciler.core.errors import ReconcilerError, mistake

# Typer names only the subclass.
UsageError = cast("type[typer.BadParameter]", typer.BadParameter.__mro__[1])
_DISTRIBUTION = "kling-reconciler"

app = typer.Typer(
    name="reconciler",
    help="Keep a folder of specs true: the videos they ask for, bought exactly once.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _tell_version(wanted: bool) -> None:
    """Print what a bug report needs: versions of the program, Python, SQLite, FFmpeg and every library."""
    if not wanted:
        return
    needed: list[str] = []
    with suppress(metadata.PackageNotFoundError):  # a source tree that is on the path
        needed = metadata.requires(_DISTRIBUTION) or []
    try:
        from av import ffmpeg_version_info as ffmpeg  # PyAV brings it, and only PyAV knows
    except ImportError as error:  # a report of just that is worth having
        ffmpeg = f"cannot be loaded ({error})"
    names = {re.split(r"[^\w.-]", one, maxsplit=1)[0] for one in needed} | {"SQLAlchemy"}
    for line in (
        f"reconciler {_installed(_DISTRIBUTION, 'of an unknown version (not installed)')}",
        f"{platform.python_implementation()} {platform.python_version()} on {platform.platform()}",
        f"SQLite {sqlite3.sqlite_version}, FFmpeg {ffmpeg}",
        ", ".join(f"{name} {_installed(name)}" for name in sorted(names, key=str.lower)),
    ):
        out.print(line, markup=False)
    raise typer.Exit


def _installed(name: str, otherwise: str = "is missing") -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return otherwise


@app.callback()
def root_options(
    context: typer.Context,
    root: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="The folder that holds specs/ and state/; default: the nearest one, from the working folder upwards.",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Your own settings file (TOML), not one of the folder; default: reconciler/config.toml in your "
            "configuration folder.",
        ),
    ] = None,
    version: Annotated[  # noqa: ARG001 - seen to before
        bool,
        typer.Option(
            "--version",
            callback=_tell_version,
            is_eager=True,
            help="Show the versions of the program and of what it runs on, for bug reports, and exit.",
        ),
    ] = False,
) -> None:
    """Keep a folder of specs true: the videos they ask for, bought exactly once."""
    context.obj = root, None if config is None else config.absolute()


# In the order of the help: a command, and the module where the function of that name is.
_COMMANDS = {
    "init": "begin", "validate": "plan", "plan": "plan", "apply": "plan", "watch": "watch", "status": "status",
    "show": "status", "spend": "spend", "retry": "order_commands", "import": "order_commands",
    "refresh": "order_commands", "forget": "order_commands", "prune": "order_commands", "gc": "order_commands",
    "doctor": "doctor", "backup": "status", "simulate": "begin", "demo": "begin", "schema": "plan",
}  # fmt: skip


class _Commands(Mapping[str, Any]):
    """The commands by name; a command's module, with all that it needs, is imported when it is asked for."""

    def __getitem__(self, name: str) -> Any:
        module = import_module(f"reconciler.cli.{_COMMANDS[name]}")
        function = getattr(module, f"{name}_" if iskeyword(name) else name)
        one = typer.Typer(add_completion=False, rich_markup_mode=None)
        one.command(name)(function)
        return typer.main.get_command(one)

    def __iter__(self) -> Iterator[str]:
        return iter(_COMMANDS)

    def __len__(self) -> int:
        return len(_COMMANDS)


@cache
def command_line() -> Any:
    """Return the command `reconciler` with all others below it, as Typer runs it."""
    group: Any = typer.main.get_command(app)
    group.commands = _Commands()
    return group


def run(arguments: Sequence[str]) -> int:
    """Run one command; never raises, never shows a traceback."""
    as_json = "--json" in arguments
    try:
        code = command_line().main(list(arguments), prog_name="reconciler", standalone_mode=False)
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
