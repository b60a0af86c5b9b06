"""The commands that need no key: the provider's simulator, and the demonstration on it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reconciler.cli.demo import Demo
from reconciler.cli.exits import ExitCode
from reconciler.cli.terminal import err, out, print_json
from reconciler.core.errors import SettingsError


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
    as_json: Annotated[
        bool, typer.Option("--json", help="Print where it is as one JSON document.")
    ] = False,
) -> int:
    """Run the provider's simulator on loopback: the same API, and nothing is paid."""
    from reconciler.simulator.server import RunningSimulator, SimulatorConfig, run

    config = SimulatorConfig(
        folder=folder,
        port=port,
        results_port=results_port,
        speed=speed,
        concurrency=concurrency,
        render="draft" if draft else "full",
    )

    def announce(running: RunningSimulator) -> None:
        settings = {
            "KLING_BASE_URL": running.base_url,
            "KLING_ACCESS_KEY": config.access_key,
            "KLING_SECRET_KEY": config.secret_key,
        }
        if as_json:
            print_json(
                {
                    "base_url": running.base_url,
                    "results_url": running.results_url,
                    "settings": settings,
                }
            )
        else:
            err.print(
                f"The simulator listens on {running.base_url}; Ctrl-C ends it. In another terminal:"
            )
            out.print("\n".join(f"export {name}={value}" for name, value in settings.items()))
            out.print("export RECONCILER_POLL_INTERVAL=1")
        out.file.flush()

    try:
        run(config, on_ready=announce)
    except OSError as error:
        hint = "Is another simulator running? Choose another with --port, or 0 for any."
        raise SettingsError(
            f"the simulator cannot listen on port {port}: {error.strerror or error}", hint=hint
        ) from error
    return ExitCode.DONE


def demo(
    folder: Annotated[
        Path, typer.Option("--dir", metavar="DIR", help="The demonstration's own folder.")
    ] = Path("demo"),
) -> int:
    """Show the main job on the simulator, from nothing to videos on disk; no key is needed."""
    return Demo(folder.resolve()).run()
