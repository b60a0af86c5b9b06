"""The command line: every command's name, arguments, options and help. No command is carried out here.

What carries a command out is imported when it runs: help, completion and a mistake in the command line need none of it.
So nothing may be imported here that is slow to import (`tests/cli/test_start.py`), and annotations are no texts, which
Typer would compile one by one at each start.
"""

from collections.abc import Callable
from copy import copy
from datetime import datetime
from functools import cache, partial, wraps
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

AsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on stdout, and nothing else.")
]
Paths = Annotated[
    list[Path] | None,
    typer.Argument(metavar="PATH", help="Specs, or folders of specs; default: all."),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")]
What = Annotated[
    list[str],
    typer.Argument(metavar="SPEC|ID", help="Specs' paths, external_task_ids or task_ids."),
]
Ids = Annotated[
    list[str], typer.Argument(metavar="ID", help="External_task_ids or task_ids of tasks.")
]
By = Literal["day", "spec", "model", "folder", "attempt"]  # as in `core.purchases`
_day = partial(typer.Option, metavar="DATE", formats=["%Y-%m-%d"])
_dir = partial(typer.Option, "--dir", metavar="DIR")
_port = partial(typer.Option, min=0, max=65535)

app = typer.Typer(
    name="reconciler",
    help="Keep a folder of specs true: the videos they ask for, bought exactly once.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _command(module: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Declare a command, which the function of the same name in a module of `cli` carries out."""

    def declared(command: Callable[..., None]) -> Callable[..., None]:
        name = command.__name__

        @wraps(command)
        def carried_out(**given: Any) -> Any:
            return getattr(import_module(f"reconciler.cli.{module}"), name)(**given)

        app.command(name.rstrip("_"))(carried_out)
        return command

    return declared


@cache
def command_line(first: str = "") -> Any:
    """Return the command `reconciler` as Typer runs it: all others are below it, or the one that is its first word.

    Typer makes every option of every command that it is told of.
    """
    line = copy(app)
    named = [one for one in app.registered_commands if one.name == first]
    line.registered_commands = named or app.registered_commands
    return typer.main.get_command(line)


def _tell_version(wanted: bool) -> None:
    if wanted:
        from reconciler.cli.version import tell_version

        tell_version()
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
    context.obj = root, None if config is None else config.absolute()


@_command("begin")
def init(
    context: typer.Context,
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", help="The folder to begin in; it is made if it does not exist."
        ),
    ] = Path(),
) -> None:
    """Make a starting folder: a sample spec, .gitignore, .reconcilerignore, .env.example and a schema for editors."""


@_command("plan")
def validate(
    context: typer.Context,
    paths: Paths = None,
    as_json: AsJson = False,
    probe: Annotated[
        bool,
        typer.Option(
            "--probe", help="Ask for media at URLs too: at most two megabytes of each are read."
        ),
    ] = False,
) -> None:
    """Check specs and their media, offline unless --probe."""


@_command("plan")
def plan(
    context: typer.Context,
    paths: Paths = None,
    as_json: AsJson = False,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Ask the provider what it knows first.")
    ] = False,
    detailed_exitcode: Annotated[
        bool, typer.Option("--detailed-exitcode", help="Exit with 2 when there is something to do.")
    ] = False,
) -> None:
    """Show what apply would do, and what it is expected to cost."""


@_command("apply")
def apply(
    context: typer.Context,
    paths: Paths = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Buy without asking.")] = False,
    timeout: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", min=0, help="Stop after this long, with exit code 4."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make the folder true once: submit what is missing, wait, and save the results."""


@_command("watch")
def watch(
    context: typer.Context,
    http: Annotated[
        str, typer.Option("--http", metavar="HOST:PORT", help="Where the status page is.")
    ] = "127.0.0.1:8787",
    no_http: Annotated[bool, typer.Option("--no-http", help="Serve no status page.")] = False,
) -> None:
    """Keep the folder true: follow its changes, buy what is missing, save the results; until it is stopped."""


@_command("status")
def status(
    context: typer.Context,
    paths: Paths = None,
    as_json: AsJson = False,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch",
            "-w",
            help="Show it again whenever something changes; with --json one document per line.",
        ),
    ] = False,
) -> None:
    """Show where every generation stands."""


@_command("status")
def show(
    context: typer.Context,
    what: Annotated[
        str,
        typer.Argument(metavar="SPEC|ID", help="A spec's path, an external_task_id, or a task_id."),
    ],
    as_json: AsJson = False,
) -> None:
    """Show everything known of a spec's generations or of one generation, with its history."""


@_command("spend")
def spend(
    context: typer.Context,
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="PATH", help="Specs, or folders of specs, including deleted ones; default: all."
        ),
    ] = None,
    by: Annotated[By, typer.Option(help="What the sums are for.")] = "day",
    since: Annotated[datetime | None, _day(help="From this day (UTC) on: 2026-11-25.")] = None,
    until: Annotated[datetime | None, _day(help="Up to this day, which is included.")] = None,
    table: Annotated[
        Path | None,
        typer.Option("--csv", metavar="FILE", help="Write the rows as CSV; `-` is stdout."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what was spent: estimated, deducted, wasted, by day, spec, model, folder or attempt.

    Units are the provider's. Where no deduction is known yet, the estimate counts. Offline; changes nothing.
    """


@_command("order_commands")
def retry(context: typer.Context, what: What, yes: Yes = False) -> None:
    """Try failed, rejected or expired generations again."""


@_command("order_commands")
def import_(
    context: typer.Context,
    ids: Ids,
    target: Annotated[
        str | None,
        typer.Option(
            "--for",
            metavar="SPEC|ID",
            help="Bind the one task to this generation, even though its id does not say so.",
        ),
    ] = None,
) -> None:
    """Take over tasks that the provider has; buys nothing."""


@_command("order_commands")
def refresh(context: typer.Context, paths: Paths = None) -> None:
    """Ask how everything stands that is not settled; buys nothing."""


@_command("order_commands")
def forget(context: typer.Context, ids: Ids, yes: Yes = False) -> None:
    """Remove generations from the state and receipts; files stay."""


@_command("order_commands")
def prune(context: typer.Context, yes: Yes = False) -> None:
    """Remove outputs that no spec asks for any more."""


@_command("order_commands")
def gc(
    context: typer.Context,
    yes: Yes = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would go, and remove nothing.")
    ] = False,
) -> None:
    """Remove from the state what nothing refers to any more."""


@_command("doctor")
def doctor(
    context: typer.Context,
    as_json: AsJson = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Do not read every object to compare it with its hash.")
    ] = False,
) -> None:
    """Look for what is wrong around the program.

    Settings and where each came from, the key, the network, the clock, the balance, the media store, the disk, the
    database, and the objects against their hashes. Changes nothing (what it writes into the media store to see whether
    it can, it removes again), and shows no secret.
    """


@_command("status")
def backup(
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Where the copy goes; never overwritten.")
    ],
) -> None:
    """Copy the state database to FILE as it is at one moment, also while `watch` or `apply` runs.

    The copy is verified, and readable for its user alone. Results (state/objects) are files of their own, which
    never change: copy them with any tool. Keys and settings are not in it.
    """


@_command("begin")
def simulate(
    folder: Annotated[Path, _dir(help="Where its tasks and films are kept.")] = Path(".simulator"),
    port: Annotated[int, _port(help="The API's port; 0 lets the system choose.")] = 8790,
    results_port: Annotated[int, _port(help="The port of results; 0 lets the system choose.")] = 0,
    speed: Annotated[float, typer.Option(min=0, help="Simulated seconds per second.")] = 60.0,
    concurrency: Annotated[
        int, typer.Option(min=1, help="Tasks that may be in flight at once.")
    ] = 5,
    draft: Annotated[
        bool, typer.Option("--draft", help="Render tiny films, in milliseconds.")
    ] = False,
    faults: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A fault plan: a JSON list of rules.")
    ] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RULE", help="One rule in JSON, after those of the file; may be repeated."
        ),
    ] = None,
    knobs: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KNOB=VALUE", help="Decide otherwise what is unknown; may be repeated."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print where it is as one JSON document.")
    ] = False,
) -> None:
    """Run the provider's simulator on loopback: the same API, and nothing is paid."""


@_command("begin")
def demo(
    folder: Annotated[Path, _dir(help="The demonstration's own folder.")] = Path("demo"),
) -> None:
    """Show the main job on the simulator, from nothing to videos on disk; no key is needed."""


@_command("begin")
def schema() -> None:
    """Print the JSON Schema of a spec, for editors."""
