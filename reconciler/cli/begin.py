"""The commands that need no project: a starting folder, the schema, the provider's simulator, a demonstration on it."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.resources import as_file, files
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import typer
from rich.markup import escape

from reconciler.cli.console import err, out
from reconciler.cli.terminal import print_json
from reconciler.core import kinds
from reconciler.core.errors import ReconcilerError, SettingsError, WorkspaceError, counted
from reconciler.workspace.files.plain import open_plain
from reconciler.workspace.programs import environment
from reconciler.workspace.tree.ignoring import IGNORE_FILE

_MARKER = ".simulator"
_IGNORED = "state/\n.simulator/\n.env\n"
_NO_SETTINGS = "settings.toml"  # in the marker folder, instead of the user's for the real API
_PROGRAM = (sys.executable, "-P", "-m", "reconciler")  # -P: no module of the folder that it runs in
_COMMITTER = (
    *("-c", "safe.bareRepository=explicit", "-c", "commit.gpgsign=false"),
    *("-c", "user.name=demo", "-c", "user.email=demo@localhost"),
)
_CONFIG = "# The simulator's time runs fast, so ask often.\npoll_interval = 0.5\n"
SCHEMA = "spec.schema.json"
_MOST_READ = 1024 * 1024  # bytes of the user's `.gitignore`


def init(context: typer.Context, folder: Path) -> None:
    """Make a starting folder: a sample spec, .gitignore, .reconcilerignore, .env.example and a schema for editors."""
    root: Path | None = context.obj[0]
    if root is not None:  # `--root DIR`, as `git -C DIR`
        folder = root / folder
    templates = files("reconciler.cli") / "starter"
    contents = {
        "specs/dance.yaml": (templates / "dance.yaml").read_text(encoding="utf-8"),
        ".gitignore": (templates / "gitignore").read_text(encoding="utf-8"),
        IGNORE_FILE: (templates / "reconcilerignore").read_text(encoding="utf-8"),
        ".env.example": (templates / "env.example").read_text(encoding="utf-8"),
        SCHEMA: json.dumps(kinds.schema(), indent=2, ensure_ascii=False) + "\n",
    }
    if (folder / "specs").exists():  # the user's own: a sample in it would be bought
        del contents["specs/dance.yaml"]
    written = [name for name, text in contents.items() if _add(folder, name, text)]
    ignored: list[str] = []
    with suppress(OSError), open_plain(folder / ".gitignore") as file:  # git reads plain ones only
        ignored = file.read(_MOST_READ).decode("utf-8", "replace").split()
    if lacking := [name for name in ("state/", ".env") if name not in ignored]:
        out.print(f"  `.gitignore` is yours; add to it: {' '.join(lacking)}")
    if not written:
        out.print(f"Nothing to do: {escape(str(folder.resolve()))} already has everything.")
    else:
        out.print(
            "Next: copy `.env.example` to `.env`, put your key into it, and run `reconciler plan`."
        )


def _add(folder: Path, name: str, text: str) -> bool:
    """Write a file that is not there yet, and print that; return whether it was written."""
    path = folder / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        if path.parent.is_dir():
            return False
        raise WorkspaceError(f"`{path.parent}` is a file", hint="Name another folder.") from None
    except OSError as error:
        hint = "Name a folder that you can write to."
        raise WorkspaceError(f"`{path}` cannot be written: {error.strerror}", hint=hint) from error
    out.print(f"  wrote {escape(name)}")
    return True


def simulate(
    folder: Path,
    port: int,
    results_port: int,
    speed: float,
    concurrency: int,
    draft: bool,
    faults: Path | None,
    fault: Sequence[str] | None,
    knobs: Sequence[str] | None,
    as_json: bool,
) -> None:
    """Run the provider's simulator on loopback: the same API, and nothing is paid."""
    from reconciler.simulator.config import SimulatorConfig
    from reconciler.simulator.server import RunningSimulator, run

    config = SimulatorConfig(
        folder=folder,
        port=port,
        results_port=results_port,
        speed=speed,
        concurrency=concurrency,
        render="draft" if draft else "full",
        **_misbehaviour(faults, fault or (), knobs or ()),
    )
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
        why = f"the simulator cannot listen on port {port}: {error.strerror or error}"
        raise SettingsError(why, hint=hint) from error


def _require_no_links(folder: Path) -> None:
    """Raise WorkspaceError where a link or a special file would take what the simulator writes elsewhere."""
    within = (Path(here, name) for here, *names in os.walk(folder) for name in chain(*names))
    for place in chain([folder] if folder.is_symlink() else [], within):
        mode = stat.S_IFREG  # for what is gone by now, by another simulator on the same folder
        with suppress(OSError):
            mode = place.lstat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            why = f"`{place}` is no plain file, and the simulator would write to it"
            raise WorkspaceError(why, hint="Remove it, or name another folder with --dir.")


def _misbehaviour(
    faults: Path | None, fault: Sequence[str], knobs: Sequence[str]
) -> dict[str, Any]:
    """Return the simulator's settings for a fault plan and knobs; raises typer.BadParameter for wrong ones."""
    from reconciler.simulator.knobs import KnobError, parse_knobs
    from reconciler.simulator.plans import PlanError, read_plan, read_rule

    try:
        rules = [] if faults is None else read_plan(faults)
        rules += [read_rule(text) for text in fault]
        return {**parse_knobs(knobs), "faults": tuple(rules)}
    except KnobError as error:
        raise typer.BadParameter(f"--set: {error}") from None
    except PlanError as error:
        raise typer.BadParameter(f"the fault plan: {error}") from None


def demo(folder: Path) -> int:
    """Show the main job on the simulator, from nothing to videos on disk; no key is needed."""
    return Demo(folder.resolve()).run()


class Demo:
    """The demonstration in its folder; a second run finds everything done."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._specs = folder / "specs"

    def run(self) -> int:
        """Apply twice and show that the second time costs nothing."""
        fresh = self._prepare()
        kept = "" if fresh else " (kept from an earlier run)"
        out.print(f"The demonstration lives in [bold]{escape(str(self._folder))}[/]{kept}")
        for spec in sorted(self._specs.glob("*.yaml")):
            self._head(f"specs/{spec.name}")
            for line in spec.read_text(encoding="utf-8").rstrip().split("\n"):
                out.print(line, markup=False)
        with self._simulator() as settings:
            missing = "everything is missing, so it is bought (on the simulator)"
            self._head(f"First apply: {missing if fresh else 'as the earlier run left it'}")
            if code := self._apply(settings):
                return code
            self._commit("What the first apply brought home")
            before, calls = self._mtimes(), self._calls(settings)
            self._head("Second apply: everything is there")
            code = self._apply(settings)
            after = self._calls(settings)
        self._head("What you have now")
        for video in sorted(self._specs.rglob("*.mp4")):
            if video.parent.name != "assets":
                out.print(f"  {escape(str(video))}  [dim]{video.stat().st_size:,} bytes[/]")
        out.print()
        sent = counted(after["create"] - calls["create"], "create")
        fetched = counted(after["result"] - calls["result"], "result")
        same = "no file changed." if self._mtimes() == before else "[red]files changed![/]"
        out.print(f"The second apply sent {sent} and fetched {fetched}; {same}")
        self._conclude()
        return code

    def _prepare(self) -> bool:
        """Make a new folder and return True, or False for an earlier run's; raises WorkspaceError: it is another's."""
        if (self._folder / _MARKER).is_dir():
            return False
        if self._folder.exists() and any(self._folder.iterdir()):
            hint = "Name another folder with --dir, or move that one away."
            why = f"`{self._folder}` already exists, and is not from a demonstration"
            raise WorkspaceError(why, hint=hint)
        with as_file(files("reconciler.cli") / "samples") as samples:
            shutil.copytree(samples, self._specs, dirs_exist_ok=True)
        (self._folder / ".gitignore").write_text(_IGNORED, encoding="utf-8")
        (self._folder / "reconciler.toml").write_text(_CONFIG, encoding="utf-8")
        if shutil.which("git"):
            self._git("init", "--quiet")
            self._commit("Two specs, four wishes")
        (self._folder / _MARKER).mkdir()
        return True

    @contextmanager
    def _simulator(self) -> Iterator[Mapping[str, str]]:
        """Run the simulator in a process of its own; yields the settings that lead to it."""
        command = (*_PROGRAM, "simulate", "--json", "--port", "0", "--dir")
        process = subprocess.Popen(  # noqa: S603 - our own program
            [*command, str(self._folder / _MARKER)],
            stdout=subprocess.PIPE,
            cwd=self._folder,
            env=environment(os.environ),
        )
        try:
            assert process.stdout is not None
            said = b""
            for line in process.stdout:
                said += line
                if said.endswith(b"}\n}\n"):
                    break
            else:
                hint = "Its own message is above."
                raise ReconcilerError("the simulator did not start", hint=hint)
            yield json.loads(said)["settings"]
        finally:
            process.terminate()
            process.communicate()

    def _apply(self, settings: Mapping[str, str]) -> int:
        nothing = self._folder / _MARKER / _NO_SETTINGS
        nothing.unlink(missing_ok=True)  # it may have come with the folder
        nothing.touch(exist_ok=False)
        out.print("[dim]$ reconciler apply --yes[/]")
        out.file.flush()
        passed = {**environment(os.environ), **settings}
        own = ("--root", str(self._folder), "--config", str(nothing))
        command = (*_PROGRAM, *own, "apply", "--yes")
        return subprocess.run(command, env=passed, check=False).returncode  # noqa: S603 - our own program

    def _conclude(self) -> None:
        if self._has_git:
            changed = escape(self._git("status", "--porcelain"))
            out.print(f"[red]git status:[/] {changed}" if changed else "`git status` is clean.")
        beside = Path(sys.executable).with_name("reconciler")
        program = "reconciler" if shutil.which("reconciler") else beside
        command = escape(f"{program} --root {self._folder} status")
        out.print(f"Look around: [bold]{command}[/]; delete the folder when you are done.")

    def _mtimes(self) -> dict[Path, int]:
        return {at: at.stat().st_mtime_ns for at in self._specs.rglob("*") if at.is_file()}

    def _calls(self, settings: Mapping[str, str]) -> dict[str, int]:
        with urlopen(f"{settings['KLING_BASE_URL']}/simulator/requests") as answer:  # noqa: S310 - our own loopback
            return dict(json.load(answer))

    @property
    def _has_git(self) -> bool:
        return shutil.which("git") is not None and (self._folder / ".git").is_dir()

    def _git(self, *arguments: str) -> str:
        # By name: git, looking for a repository, may find another one in the folder.
        named = (f"--git-dir={self._folder / '.git'}", f"--work-tree={self._folder}")
        done = subprocess.run(  # noqa: S603
            ["git", *named, *_COMMITTER, *arguments],  # noqa: S607
            cwd=self._folder,
            env=environment(os.environ),
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout.strip()

    def _commit(self, message: str) -> None:
        if self._has_git:
            self._git("add", "--all")
            if self._git("status", "--porcelain"):
                self._git("commit", "--quiet", "--message", message)

    def _head(self, title: str) -> None:
        out.print()
        out.print(f"[bold]{escape(title)}[/]")


def schema() -> None:
    """Print the JSON Schema of a spec, for editors."""
    print_json(kinds.schema())
