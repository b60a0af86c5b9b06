"""The commands that need no key: the provider's simulator, and the demonstration on it."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli.demo import Demo
from reconciler.cli.exits import ExitCode
from reconciler.cli.terminal import err, out, print_json
from reconciler.core.errors import SettingsError, WorkspaceError

if TYPE_CHECKING:
    from reconciler.simulator.config import SimulatorConfig


def simulate(
    folder: Annotated[
        Path, typer.Option("--dir", metavar="DIR", help="Where its tasks and films are kept.")
    ] = Path(".simulator"),
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="The API's port; 0 lets the system choose.")
    ] = 8790,
    results_port: Annotated[
        int, typer.Option(min=0, max=65535, help="The port of results; 0 lets the system choose.")
    ] = 0,
    speed: Annotated[float, typer.Option(min=0, help="Simulated seconds per second.")] = 60.0,
    concurrency: Annotated[
        int, typer.Option(min=1, help="Tasks that may be in flight at once.")
    ] = 5,
    draft: Annotated[
        bool, typer.Option("--draft", help="Render tiny films, in milliseconds.")
    ] = False,
    faults: Annotated[
        Path | None,
        typer.Option("--faults", metavar="FILE", help="A fault plan: a JSON list of rules."),
    ] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            "--fault",
            metavar="RULE",
            help="One rule in JSON, after those of the file; may be repeated.",
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
) -> int:
    """Run the provider's simulator on loopback: the same API, and nothing is paid."""
    from reconciler.simulator.config import SimulatorConfig
    from reconciler.simulator.server import RunningSimulator, run

    chosen = SimulatorConfig(
        folder=folder,
        port=port,
        results_port=results_port,
        speed=speed,
        concurrency=concurrency,
        render="draft" if draft else "full",
    )
    config = _misbehaving(chosen, faults, fault or [], knobs or [])
    _require_no_links(folder)

    def announce(running: RunningSimulator) -> None:
        settings = {
            "KLING_BASE_URL": running.base_url,
            "KLING_ACCESS_KEY": config.access_key,
            "KLING_SECRET_KEY": config.secret_key,
        }
        if as_json:
            where = {"base_url": running.base_url, "results_url": running.results_url}
            print_json({**where, "settings": settings})
        else:
            err.print(
                f"The simulator is listening on {running.base_url}; Ctrl-C ends it. In another terminal:"
            )
            for name, value in {**settings, "RECONCILER_POLL_INTERVAL": "1"}.items():
                out.print(f"export {name}={value}")
        out.file.flush()

    try:
        run(config, on_ready=announce)
    except OSError as error:
        hint = "Is another simulator running? Choose another with --port, or 0 for any."
        raise SettingsError(
            f"the simulator cannot listen on port {port}: {error.strerror or error}", hint=hint
        ) from error
    return ExitCode.DONE


def _require_no_links(folder: Path) -> None:
    """Raise WorkspaceError where the simulator would write into something else than files of its own."""
    found = [folder] if folder.is_symlink() else []
    for here, folders, names in os.walk(folder):
        places = (Path(here, name) for name in (*folders, *names))
        found += filter(_leads_elsewhere, places)
    if found:
        raise WorkspaceError(
            f"`{found[0]}` is no plain file, and the simulator would write to it",
            hint="Remove it, or name another folder with --dir.",
        )


def _leads_elsewhere(place: Path) -> bool:
    try:
        mode = place.lstat().st_mode
    except OSError:  # gone, by another simulator on the same folder
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _misbehaving(
    config: SimulatorConfig, faults: Path | None, fault: list[str], knobs: list[str]
) -> SimulatorConfig:
    """Return the simulator with a fault plan and with its knobs turned; raises typer.BadParameter for wrong ones."""
    from reconciler.simulator.knobs import KnobError, parse_knobs
    from reconciler.simulator.plans import PlanError, read_plan, read_rule

    try:
        rules = [] if faults is None else read_plan(faults)
        rules += [read_rule(text) for text in fault]
        return replace(config, **parse_knobs(knobs), faults=tuple(rules))  # type: ignore[arg-type]  # parsed by type
    except KnobError as error:
        raise typer.BadParameter(f"--set: {error}") from None
    except PlanError as error:
        raise typer.BadParameter(f"the fault plan: {error}") from None


def demo(
    folder: Annotated[
        Path, typer.Option("--dir", metavar="DIR", help="The demonstration's own folder.")
    ] = Path("demo"),
) -> int:
    """Show the main job on the simulator, from nothing to videos on disk; no key is needed."""
    return Demo(folder.resolve()).run()
