"""`status --watch`: it shows a change soon after it happened, on a terminal and off it, and leaves with 0."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.nursery import REPOSITORY
from tests.support.project import Project, Running, wait_until
from tests.support.simulator import Simulator, simulator


@pytest.fixture
def sim(tmp_path: Path) -> Iterator[Simulator]:
    with simulator(tmp_path / "simulator") as running:
        yield running


@pytest.fixture
def project(tmp_path: Path, sim: Simulator) -> Project:
    return Project(tmp_path / "project", sim.env())


def documents(running: Running) -> list[dict[str, Any]]:
    """Return the documents that were written so far, one a line."""
    lines = running.out.read_text().split("\n")
    return [json.loads(line) for line in lines[:-1]]


def test_every_change_is_one_document_on_one_line(project: Project) -> None:
    """A folder that fills, is bought by somebody who has the lock, loses an output, and is away for a moment."""
    with project.running("status", "--watch", "--json") as watching:
        wait_until(lambda: len(documents(watching)) == 1, "the first document")
        assert documents(watching)[0] == {"generations": [], "summary": {}}
        project.spec()
        wait_until(lambda: documents(watching)[-1]["summary"] == {"pending": 1}, "pending")
        assert project.apply().code == 0
        wait_until(lambda: documents(watching)[-1]["summary"] == {"complete": 1}, "complete")
        assert project.status().document == documents(watching)[-1]
        (project.specs / "dance.mp4").unlink()
        wait_until(lambda: documents(watching)[-1]["summary"] == {"succeeded": 1}, "a lost output")
        project.specs.rename(project.root / "away")
        wait_until(lambda: "error" in documents(watching)[-1], "an error")
        (project.root / "away").rename(project.specs)
        wait_until(lambda: "summary" in documents(watching)[-1], "an error that has passed")
        seen = len(documents(watching))
        watching.process.send_signal(signal.SIGINT)
        assert watching.ended().code == 0
        assert len(documents(watching)) == seen


def test_without_a_terminal_each_change_is_a_block(project: Project) -> None:
    """For logs and pipes: a table and its summary; SIGTERM ends it with 0 too."""
    project.spec()
    with project.running("status", "--watch", "specs/dance.yaml") as watching:
        wait_until(lambda: "1 pending" in watching.out.read_text(), "the first block")
        project.spec(prompt="[[fail: x]]", takes=2)
        wait_until(lambda: "2 pending" in watching.out.read_text(), "the second block")
        watching.process.send_signal(signal.SIGTERM)
        assert watching.ended().code == 0
        assert watching.out.read_text().count("generation") == 2


def test_what_cannot_be_shown_at_all_is_an_error(project: Project) -> None:
    """A wrong path from the beginning is not waited for."""
    done = project.run("status", "--watch", "specs/nothing.yaml")
    assert (done.code, "names no spec" in done.err) == (1, True)


@contextmanager
def on_a_terminal(project: Project, *arguments: str) -> Iterator[tuple[Any, list[bytes]]]:
    """Run a command on a terminal of 24 lines; give the process and what it has written so far."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    written: list[bytes] = []
    process = subprocess.Popen(
        project.command(*arguments),
        cwd=REPOSITORY,
        env=project.environment({"TERM": "xterm", "LINES": None, "COLUMNS": None}),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)

    def read() -> None:
        with suppress(OSError):  # the other end is closed
            while data := os.read(ours, 65536):
                written.append(data)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield process, written
    finally:
        process.kill()
        process.wait()
        reader.join()
        os.close(ours)


def test_on_a_terminal_the_table_is_redrawn_and_shows_what_presses_first(project: Project) -> None:
    """Sixty generations do not fit into 24 lines: those that need somebody, or move, are the ones on screen."""
    project.spec("many.yaml", takes=60)
    with on_a_terminal(project, "status", "--watch") as (process, written):
        wait_until(lambda: b"60 pending" in b"".join(written), "the table")
        assert b"40 of them not shown" in b"".join(written)
        project.spec("zz.yaml", nonsense=True)
        wait_until(lambda: b"specs/zz.yaml" in b"".join(written), "what is wrong")
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
    assert b"Traceback" not in b"".join(written)
