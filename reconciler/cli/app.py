"""The commands, and the one place where an error becomes a sentence and an exit code."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, cast

import typer

from reconciler.cli import (
    applying,
    doctor,
    offline,
    orders,
    playground,
    spending,
    starting,
    watching,
)
from reconciler.cli.exits import ExitCode
from reconciler.cli.root import Options
from reconciler.cli.terminal import out, print_error, print_json
from reconciler.core.errors import ReconcilerError, mistake

UsageError = cast(
    "type[typer.BadParameter]", typer.BadParameter.__mro__[1]
)  # typer names only the subclass

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
    if wanted:
        from reconciler.cli.version import version_lines

        for line in version_lines():
            out.print(line, markup=False)
        raise typer.Exit


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
    context.obj = Options(root, None if config is None else config.absolute())


for _command in (
    starting.init,
    offline.validate,
    offline.plan,
    applying.apply,
    watching.watch,
    offline.status,
    offline.show,
    spending.spend,
    orders.retry,
    orders.import_,
    orders.refresh,
    orders.forget,
    orders.prune,
    orders.gc,
    doctor.doctor,
    offline.backup,
    playground.simulate,
    playground.demo,
    offline.schema,
):
    app.command(_command.__name__.rstrip("_"))(_command)


def run(arguments: Sequence[str]) -> int:
    """Run one command; never raises, never shows a traceback."""
    as_json = "--json" in arguments
    try:
        code = typer.main.get_command(app).main(
            list(arguments), prog_name="reconciler", standalone_mode=False
        )
    except ReconcilerError as error:
        return _fail(error.message, error.hint, as_json=as_json)
    except (typer.Abort, KeyboardInterrupt):
        print_error("interrupted", "What is in flight is on record; run again to go on.")
        return ExitCode.INTERRUPTED
    except UsageError as error:
        _fail(error.format_message(), "See `reconciler --help`.", as_json=as_json)
        return ExitCode.USAGE
    except OSError as error:
        return _fail(
            (f"`{error.filename}`: " if error.filename else "") + (error.strerror or str(error)),
            "Nothing is lost; run again.",
            as_json=as_json,
        )
    except Exception as error:  # noqa: BLE001 - the last door: a person gets a sentence, whatever happened
        hint = "Nothing is lost: what was sent is on record. Name the command that you ran."
        return _fail(mistake(error), hint, as_json=as_json)
    return int(code or 0)


def _fail(message: str, hint: str, *, as_json: bool) -> int:
    if as_json:
        print_json({"error": {"message": message, "hint": hint}})
    print_error(message, hint)
    return ExitCode.ERROR
