"""`watch` as people run it: real processes that are signalled and killed, and what was billed in the end."""

from __future__ import annotations

import json
import random
import shutil
import signal
import socket
import sqlite3
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.killpoints import WORLD
from tests.support.money import assert_bought_once, assert_quiet, purchases
from tests.support.project import Done, Project, Running, wait_until
from tests.support.simulator import SPEED, Simulator, simulator

LEAVES = 5.0
"""Seconds that a stop may take."""
PATIENT = {"RECONCILER_REQUEST_TIMEOUT": "30"}
"""A request that is not answered outlasts a stop."""
MANY = 2000


@pytest.fixture
def sim() -> Iterator[Simulator]:
    """The least forgiving provider: it bills whatever is sent twice."""
    with simulator(**WORLD) as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path, sim: Simulator) -> Project:
    """A project whose specs settle quickly, and whose folder is looked at often."""
    quick = {"RECONCILER_SETTLE_SECONDS": "0.2", "RECONCILER_RESYNC_SECONDS": "2"}
    project = Project(tmp_path / "project", {**sim.env(), **quick})
    project.commit()
    return project


def leave(running: Running, number: signal.Signals = signal.SIGTERM) -> Done:
    """Ask it to stop; it has to be gone in time, with 0 and without a traceback."""
    began = time.monotonic()
    running.interrupt(number)
    done = running.ended(within=30)
    took = time.monotonic() - began
    assert done.code == 0, done
    assert took < LEAVES, f"{took:.1f} s\n{done}"
    assert "Traceback" not in done.err, done
    return done


def delivered(project: Project) -> set[str]:
    """Return the prompts of what is bought and wanted, by the receipts, which are written last."""
    return {
        entry["request"]["prompt"]
        for entries in project.receipts().values()
        for entry in entries
        if entry["status"] == "complete" and entry.get("current", True)
    }


def delivered_paths(project: Project) -> list[str]:
    """Return the videos that receipts list as complete."""
    return [
        output["path"]
        for entries in project.receipts().values()
        for entry in entries
        if entry["status"] == "complete"
        for output in entry["outputs"]
    ]


def wait_for_lines(running: Running, lines: int) -> None:
    """Wait until so many lines were logged."""
    wait_until(lambda: running.err.read_text().count("\n") >= lines, f"{lines} lines", within=30)


def assert_home(project: Project, sim: Simulator) -> None:
    """A further apply has nothing to do, everything was billed once, and the videos are the provider's."""
    assert_quiet(project, sim)
    assert_bought_once(project, sim, project.status())
    assert set(purchases(sim).values()) == {1}


@pytest.mark.parametrize(
    ("endpoint", "effect", "number"),
    [
        pytest.param("create", {"stall": 0}, signal.SIGINT, id="a create is not answered"),
        pytest.param("result", {"stall": 1000}, signal.SIGTERM, id="a download stands still"),
    ],
)
def test_a_stop_in_the_middle_of_things_loses_nothing(
    folder: Project,
    sim: Simulator,
    endpoint: str,
    effect: Mapping[str, Any],
    number: signal.Signals,
) -> None:
    """It leaves with 0 within five seconds while an answer never ends; the next one brings everything home."""
    sim.faults([{"endpoint": endpoint, "effect": effect}])
    folder.spec()
    with folder.watching(env=PATIENT) as running:
        wait_until(lambda: sim.fired() == [1], "the answer that does not end")
        leave(running, number)
    sim.faults([])
    with folder.watching() as running:
        wait_until(lambda: delivered(folder), "the video")
        leave(running)
    assert_home(folder, sim)


def test_a_stop_with_tasks_in_flight_and_one_with_nothing_to_do(
    folder: Project, sim: Simulator
) -> None:
    """A task that runs at the provider is met again by the next watch; an idle one leaves as quickly."""
    sim.set_speed(1)
    folder.spec(takes=2)
    with folder.watching() as running:
        wait_until(lambda: running.err.read_text().count(" submitted ") == 2, "both tasks")
        leave(running)
    sim.set_speed(SPEED)
    with folder.watching() as running:
        wait_until(lambda: len(delivered_paths(folder)) == 2, "both videos")
        leave(running, signal.SIGINT)
    assert_home(folder, sim)


def test_a_stop_while_another_program_holds_the_database(folder: Project, sim: Simulator) -> None:
    """Five results come in that cannot be written down: the stop is in time, and the next watch has them all."""
    sim.set_speed(1)
    folder.spec(takes=5)
    with folder.watching() as running:
        wait_until(lambda: running.err.read_text().count(" submitted ") == 5, "all tasks")
        blocker = sqlite3.connect(folder.root / "state" / "reconciler.db", isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        sim.set_speed(SPEED)
        running.wait_for("database")
        leave(running)
        blocker.execute("ROLLBACK")
        blocker.close()
    with folder.watching() as running:
        wait_until(lambda: len(delivered_paths(folder)) == 5, "all videos")
        leave(running)
    assert_home(folder, sim)


def test_a_stop_while_thousands_of_specs_are_read(folder: Project, sim: Simulator) -> None:
    """At a start over 2,000 specs a stop is heard as well, and what little was begun is finished once."""
    folder.write("specs/many/_defaults.yaml", "suspend: true\n")
    for number in range(MANY):
        folder.spec(f"many/s{number}.yaml", prompt=f"number {number}")
    folder.spec("a.yaml", prompt="the only one to buy")
    for number in (signal.SIGTERM, signal.SIGINT):
        (folder.state / "lock").unlink(missing_ok=True)
        with folder.running("watch", "--no-http") as running:
            wait_until((folder.state / "lock").exists, "the start", within=30)
            done = leave(running, number)
            assert "watching" not in done.err, "the specs were read before the signal came"
    with folder.watching() as running:
        wait_until(lambda: delivered(folder) == {"the only one to buy"}, "the video", within=90)
        leave(running)
    assert list(purchases(sim).values()) == [1]


def test_killed_again_and_again_while_somebody_edits(folder: Project, sim: Simulator) -> None:
    """SIGKILL at eight random moments: every generation is billed once, and a further apply has nothing to do."""
    draw, lives = random.Random(7), 8
    sim.set_speed(SPEED / 3)
    for life in range(lives):
        folder.spec(f"new{life}.yaml", prompt=f"take {life}")
        folder.spec("changed.yaml", prompt=f"version {life}")
        lines = draw.randint(1, 9)  # of the ten that two new wishes are good for
        with folder.running("watch", "--no-http") as running:
            wait_for_lines(running, lines)
            time.sleep(draw.uniform(0, 0.1))  # the moment of death is the point
            running.process.kill()
    assert sim.requests()["create"] >= lives // 2, "too little was begun to show anything"
    sim.set_speed(SPEED)
    wanted = {f"take {life}" for life in range(lives)} | {f"version {lives - 1}"}
    with folder.watching() as running:
        wait_until(lambda: delivered(folder) == wanted, "all videos", within=50)
        leave(running)
    assert_home(folder, sim)


def test_sighup_reads_the_settings_again(folder: Project, sim: Simulator) -> None:
    """What is raised holds; settings that are wrong, or cannot be used, are said in a line and change nothing."""
    settings = ".env"
    folder.write(settings, "RECONCILER_MAX_UNITS_PER_DAY=0\nRECONCILER_POLL_INTERVAL=3600\n")
    folder.spec()
    with folder.watching(env={"RECONCILER_POLL_INTERVAL": None}) as running:
        running.wait_for("cap of 0 units")
        folder.write(settings, "RECONCILER_MAX_UNITS_PER_DYA=100\n")
        running.interrupt(signal.SIGHUP)
        running.wait_for("not read again")
        folder.write(settings, "RECONCILER_MAX_UNITS_PER_DAY=100\nRECONCILER_LOG_FILE=no/where\n")
        running.interrupt(signal.SIGHUP)
        running.wait_for("going on with the earlier settings")
        wait_until(lambda: running.err.read_text().count("watching") == 2, "the return")
        assert sim.requests()["create_attempts"] == 0
        folder.write(settings, "RECONCILER_MAX_UNITS_PER_DAY=100\nRECONCILER_POLL_INTERVAL=0.1\n")
        running.interrupt(signal.SIGHUP)
        wait_until(lambda: delivered(folder), "the video")
        done = leave(running)
    assert done.err.count("MAX_UNITS_PER_DYA") == 1
    assert done.err.count("no/where") == 2  # as what changed, and as what cannot be used
    assert list(sim.billed().values()) == [1]


STOPPED_WHILE_READING = """
import os, signal, sys
from reconciler import settings
from reconciler.cli.main import run

read, readings = settings.load, []

def load(root, **also):
    readings.append(root)
    if len(readings) == 2:
        os.kill(os.getpid(), signal.SIGTERM)
    return read(root, **also)

settings.load = load
sys.exit(run(sys.argv[1:]))
"""


def test_a_stop_while_the_settings_are_read_again_is_a_stop(folder: Project) -> None:
    """SIGTERM in the middle of what a SIGHUP began: it leaves, and does not begin anew."""
    folder.spec()

    def started(command: list[str]) -> list[str]:
        return [sys.executable, "-c", STOPPED_WHILE_READING, *command[3:]]

    with folder.running("watch", "--no-http", wrap=started) as running:
        running.wait_for("watching")
        running.interrupt(signal.SIGHUP)
        done = running.ended(within=30)
    assert done.code == 0, done
    assert done.err.count("watching") == 1, done
    assert "leaving" in done.err, done


def test_sighup_may_come_at_any_moment(folder: Project, sim: Simulator) -> None:
    """A hundred of them, one after the other, also between two readings of the settings: it lives, and still works."""
    folder.spec()
    with folder.watching() as running:
        running.wait_for("watching")
        for _ in range(100):
            running.interrupt(signal.SIGHUP)
            time.sleep(0.03)  # spread over the few seconds that a new beginning takes
        running.interrupt(signal.SIGHUP)
        wait_until(lambda: delivered(folder), "the video")
        leave(running)
    assert list(sim.billed().values()) == [1]


def test_a_stop_during_a_reload_is_a_stop(folder: Project, sim: Simulator) -> None:
    """SIGTERM right after SIGHUP, while the old life winds down: it leaves, and does not begin anew."""
    for _ in range(5):
        with folder.watching() as running:
            running.wait_for("watching")
            running.interrupt(signal.SIGHUP)
            running.wait_for("reading the settings again")
            leave(running)


def test_one_writes_and_the_others_look(folder: Project, sim: Simulator) -> None:
    """A second writer is told who writes; whoever only looks works meanwhile."""
    folder.spec()
    with folder.watching() as running:
        wait_until(lambda: delivered(folder), "the video")
        for command in (("watch", "--no-http"), ("apply", "--yes")):
            refused = folder.run(*command)
            assert refused.code == 1
            assert f"Process {running.process.pid} is already writing" in refused.err
            assert "Traceback" not in refused.err
        assert set(folder.status().statuses.values()) == {"complete"}
        assert folder.run("plan", "--json").document["summary"] == {"keep": 1}
        assert "complete" in folder.run("show", "specs/dance.yaml").out
        checks = folder.run("doctor", "--quick", "--json")
        assert checks.code == 0, checks
        leave(running)


def test_the_log_is_json_where_asked_and_the_key_is_nowhere(
    folder: Project, sim: Simulator
) -> None:
    """One object a line, in files that are turned over; nothing that was written holds the secret or a token."""
    folder.spec(takes=10)
    env = {
        "RECONCILER_LOG_FORMAT": "json",
        "RECONCILER_LOG_FILE": "state/watch.log",
        "RECONCILER_LOG_MAX_BYTES": "10000",
    }
    with folder.running("watch", "--no-http", env=env) as running:
        wait_until(lambda: len(delivered_paths(folder)) == 10, "the videos", within=40)
        leave(running)
    logs = [folder.state / "watch.log", folder.state / "watch.log.1"]
    lines = [line for log in logs for line in log.read_text().splitlines()]
    assert all(log.stat().st_size <= 10_000 for log in logs)
    assert {"submitted", "complete"} <= {json.loads(line)["status"] for line in lines}
    for path in [*folder.root.rglob("*"), running.err, running.out]:
        if path.is_file():
            data = path.read_bytes()
            assert sim.config.secret_key.encode() not in data, path
            assert b"eyJhbGciOi" not in data, path


def test_systemd_is_told(folder: Project, sim: Simulator, tmp_path: Path) -> None:
    """READY when the folder was looked at, WATCHDOG while the loop goes round, STOPPING at the end."""
    place = tmp_path / "notify"
    told: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(place))
        receiver.settimeout(0.2)

        def heard(word: str, times: int = 1) -> bool:
            with suppress(TimeoutError):
                told.append(receiver.recv(4096).decode())
            return sum(word in message for message in told) >= times

        env = {"NOTIFY_SOCKET": str(place), "WATCHDOG_USEC": "600000"}
        with folder.running("watch", "--no-http", env=env) as running:
            wait_until(lambda: heard("READY=1"), "READY", within=30)
            wait_until(lambda: heard("WATCHDOG=1", 3), "WATCHDOG")
            leave(running)
        wait_until(lambda: heard("STOPPING=1"), "STOPPING")


def test_what_cannot_begin_says_why(folder: Project) -> None:
    """Key, address, port, commits, folder: each a sentence that names what is missing, and no traceback."""
    keyless = {"KLING_ACCESS_KEY": None, "KLING_SECRET_KEY": None}
    assert_refused(folder.run("watch", "--no-http", env=keyless), "KLING_ACCESS_KEY")
    assert_refused(folder.run("watch", "--http", "nonsense"), "HOST:PORT", code=64)
    assert_refused(folder.run("watch", "--http", "0.0.0.0:0"), "RECONCILER_PAGE_TOKEN")
    public = {"RECONCILER_CALLBACK_URL": "https://example.com/callbacks"}
    assert_refused(folder.run("watch", "--no-http", env=public), "RECONCILER_CALLBACK_URL")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert_refused(folder.run("watch", "--http", f"127.0.0.1:{port}"), port)
    shutil.rmtree(folder.root / ".git")
    committed = {"RECONCILER_REQUIRE_COMMITTED": "true"}
    assert_refused(folder.run("watch", "--no-http", env=committed), "git")
    folder.specs.rmdir()
    assert_refused(folder.run("watch", "--no-http"), "specs")


def assert_refused(done: Done, word: str, *, code: int = 1) -> None:
    """It ended at once with a sentence that holds this word."""
    assert done.code == code, done
    assert word in done.err[done.err.index("error:") :], done
    assert "Traceback" not in done.err, done
    assert "mistake in reconciler" not in done.err, done
    assert "watching" not in done.err, done
