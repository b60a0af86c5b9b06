"""A project folder of a test, and the real command line over it: specs in, exit codes, documents and bytes out."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from PIL import Image

from tests.support.nursery import REPOSITORY, Child, start

VIDEO = "https://example.com/dance.mp4"
"""A reference video on another host: the simulator takes it as five seconds and never fetches it."""
IMAGE = "https://example.com/girl.png"
QUICK = {
    "RECONCILER_ABSENCE_GRACE": "1",
    "RECONCILER_POLL_INTERVAL": "0.1",
    "RECONCILER_POSTERS": "false",
    "RECONCILER_REQUEST_TIMEOUT": "1",
}
"""Settings under which a run that has nothing to wait for takes a second."""
POSTERS = {"RECONCILER_POSTERS": "true"}
"""The default of the program, for tests that look at pictures or die while one is made: a process decodes for each."""
LONGEST = 180.0
"""Seconds after which a command is taken to hang."""


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The JSON document on stdout."""
        document: dict[str, Any] = json.loads(self.out)
        return document

    @property
    def statuses(self) -> dict[str, str]:
        """The status of every generation, by id (or by spec where it has no id)."""
        rows = self.document["generations"]
        return {row["external_task_id"] or row["spec"]: row["status"] for row in rows}

    def __str__(self) -> str:
        return f"exit {self.code}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"


def spec_text(**fields: Any) -> str:
    """Return a spec in YAML (JSON values are YAML); fields override a complete wish, None leaves one out."""
    wish = {
        "image_url": IMAGE,
        "video_url": VIDEO,
        "prompt": "a dance",
        "character_orientation": "image",
        "mode": "std",
        **fields,
    }
    lines = (f"{key}: {json.dumps(value)}" for key, value in wish.items() if value is not None)
    return "\n".join(lines) + "\n"


def picture(path: Path, colour: str = "teal") -> Path:
    """Make a small image that the API would take."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (320, 320), colour).save(path)
    return path


def base_of(external_task_id: str) -> str:
    """Return the generation's id of an attempt's id."""
    return re.sub(r"-r[0-9]+$", "", external_task_id)


@dataclass
class Project:
    """A root folder, the environment that commands get, and all that they ever said."""

    root: Path
    env: dict[str, str] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.specs.mkdir(parents=True, exist_ok=True)

    @property
    def specs(self) -> Path:
        """The folder of the specs."""
        return self.root / "specs"

    @property
    def state(self) -> Path:
        """The state folder."""
        return self.root / "state"

    def spec(self, name: str = "dance.yaml", **fields: Any) -> Path:
        """Write a spec; see `spec_text`."""
        return self.write(f"specs/{name}", spec_text(**fields))

    def write(self, name: str, text: str) -> Path:
        """Write a file, relative to the root."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def command(self, *arguments: str) -> list[str]:
        """Return the command line of the program over this root."""
        return [sys.executable, "-m", "reconciler", "--root", str(self.root), *arguments]

    def environment(self, env: Mapping[str, str | None] | None = None) -> dict[str, str]:
        """Return the environment of a command: this project's, changed by `env` (None removes a name)."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.upper().startswith(("KLING", "RECONCILER_"))
            and name.lower() not in {"http_proxy", "https_proxy", "all_proxy"}
        }
        merged: dict[str, str | None] = {**kept, **QUICK, **self.env, **(env or {})}
        return {name: value for name, value in merged.items() if value is not None}

    def run(
        self,
        *arguments: str,
        env: Mapping[str, str | None] | None = None,
        command: list[str] | None = None,
        prepare: Callable[[], None] | None = None,
    ) -> Done:
        """Run the program (or another `command`) to its end.

        `prepare` runs in the child before it starts: such a program starts cold, and what it says goes to pipes.
        """
        command, environment = command or self.command(*arguments), self.environment(env)
        if prepare is not None:
            done = subprocess.run(
                command,
                cwd=REPOSITORY,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=LONGEST,
                check=False,
                preexec_fn=prepare,
            )
            code, out, err = done.returncode, done.stdout, done.stderr
        else:
            code, out, err = _ended(command, environment)
        self.said += [out, err]
        return Done(code, out, err)

    def apply(self, *arguments: str, env: Mapping[str, str | None] | None = None) -> Done:
        """Run `apply --yes --json`."""
        return self.run("apply", "--yes", "--json", *arguments, env=env)

    def status(self) -> Done:
        """Run `status --json`, without any way to reach a provider."""
        return self.run("status", "--json", env=UNREACHABLE)

    @contextmanager
    def running(
        self,
        *arguments: str,
        env: Mapping[str, str | None] | None = None,
        wrap: Callable[[list[str]], list[str]] = list,
    ) -> Iterator[Running]:
        """Run the program in the background; it is killed when the block ends, if it still runs.

        `wrap` makes of its command line the one that is started.
        """
        out, err = (self.root.parent / f"{arguments[0]}.{end}" for end in ("out", "err"))
        with out.open("w") as stdout, err.open("w") as stderr:
            command = wrap(self.command(*arguments))
            process = start(command, env=self.environment(env), stdout=stdout, stderr=stderr)
            try:
                yield Running(process, out, err)
            finally:
                process.kill()
                process.wait()
        self.said += [out.read_text(), err.read_text()]

    @contextmanager
    def watching(
        self, *options: str, env: Mapping[str, str | None] | None = None
    ) -> Iterator[Running]:
        """Run `watch` in the background (without a page, unless options say so); it has begun when the block begins."""
        with self.running("watch", *(options or ("--no-http",)), env=env) as running:
            running.wait_for("watching")
            yield running

    def receipts(self) -> dict[str, list[dict[str, Any]]]:
        """Return the generations of every receipt, by the receipt's path relative to the root."""
        found = sorted(self.specs.rglob("*.receipt.json"))
        return {
            str(path.relative_to(self.root)): json.loads(path.read_text())["generations"]
            for path in found
        }

    def videos(self) -> dict[str, str]:
        """Return the SHA-256 of every video under the specs folder, by path relative to the root."""
        return {
            str(path.relative_to(self.root)): sha256(path)
            for path in sorted(self.specs.rglob("*.mp4"))
        }

    def snapshot(self) -> dict[str, tuple[int, str]]:
        """Return the mtime (ns) and the SHA-256 of every file outside `state/` and `.git/`."""
        return {
            str(path.relative_to(self.root)): (path.stat().st_mtime_ns, sha256(path))
            for path in sorted(self.root.rglob("*"))
            if path.is_file() and path.relative_to(self.root).parts[0] not in {"state", ".git"}
        }

    def git(self, *arguments: str) -> str:
        """Run git in the root and return what it printed."""
        identity = ["-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "commit.gpgsign=no"]
        command = ["git", *identity, "-C", str(self.root), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def commit(self, *, ignore: str = "state/\n") -> None:
        """Make the root a git repository (once) and commit everything that `.gitignore` lets in."""
        if not (self.root / ".git").exists():
            self.git("init", "--quiet")
        self.write(".gitignore", ignore)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", "as it is")

    def clone(self, name: str = "clone") -> Project:
        """Return a fresh clone beside this project."""
        target = self.root.parent / name
        self.git("clone", "--quiet", str(self.root), str(target))
        return Project(target, dict(self.env), self.said)

    def lose(self, what: str) -> None:
        """Remove `state`, the `outputs`, or the `receipts`."""
        if what == "state":
            shutil.rmtree(self.state)
        for path in self.specs.rglob(
            {"outputs": "*.mp4", "receipts": "*.receipt.json"}.get(what, "")
        ):
            if path.is_file():
                path.unlink()


UNREACHABLE: Mapping[str, str | None] = {"KLING_BASE_URL": "http://127.0.0.1:9"}
"""Nobody listens on the discard port: what works under this needs no provider."""


@dataclass(frozen=True)
class Running:
    """A command under way; its output goes to files, so that a test can read it meanwhile."""

    process: Child | subprocess.Popen[bytes]
    out: Path
    err: Path

    def interrupt(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def wait_for(self, words: str, within: float = 30.0) -> None:
        """Return as soon as these words are on stderr."""
        wait_until(lambda: words in self.err.read_text(), f"`{words}`", within)

    def ended(self, within: float = LONGEST) -> Done:
        """Wait for the end."""
        code = self.process.wait(within)
        return Done(code, self.out.read_text(), self.err.read_text())


def _ended(command: list[str], environment: Mapping[str, str]) -> tuple[int, str, str]:
    """Run a command to its end; return its exit code, and what it said on stdout and on stderr."""
    with TemporaryFile("w+") as stdout, TemporaryFile("w+") as stderr:
        process = start(command, env=environment, stdout=stdout, stderr=stderr)
        try:
            code = process.wait(LONGEST)
        finally:
            process.kill()
            process.wait()
        stdout.seek(0)
        stderr.seek(0)
        return code, stdout.read(), stderr.read()


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file as hex digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def wait_until(condition: Callable[[], object], what: str, within: float = 20.0) -> None:
    """Return as soon as a condition holds; fail when it does not within these seconds."""
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not happen within {within} s")
        time.sleep(0.02)
