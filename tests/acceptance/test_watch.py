"""`watch` as people run it: real processes that are signalled and killed, and what was billed in the end."""

from __future__ import annotations

import json
import random
import shutil
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest

from tests.support.project import Project, Running, wait_until
from tests.support.simulator import Simulator

QUIET = {"RECONCILER_SETTLE_SECONDS": "0.2", "RECONCILER_RESYNC_SECONDS": "2"}
LEAVES = 5.0
"""Seconds that a stop may take."""


@pytest.fixture
def folder(tmp_path: Path, sim: Simulator) -> Project:
    project = Project(tmp_path / "project", {**sim.env(), **QUIET})
    project.commit()
    return project


@contextmanager
def watch(project: Project, *options: str, **env: str) -> Iterator[Running]:
    """Run `watch` while the block lasts; it has begun when the block begins."""
    with project.running("watch", *(options or ("--no-http",)), env=env) as running:
        wait_until(lambda: "watching" in running.err.read_text(), "the beginning", within=30)
        yield running


def leave(running: Running, number: signal.Signals = signal.SIGTERM) -> None:
    """Ask it to stop; it has to be gone in time, with 0."""
    began = time.monotonic()
    running.interrupt(number)
    done = running.ended(within=LEAVES)
    assert done.code == 0, str(done)
    assert time.monotonic() - began < LEAVES


def has_videos(project: Project, *names: str) -> bool:
    return all(
        (project.specs / f"{name}.mp4").exists()
        and (project.specs / f"{name}.receipt.json").exists()
        for name in names
    )


def is_quiet(project: Project) -> None:
    """A further apply finds nothing to do."""
    done = project.apply()
    assert done.code == 0, str(done)
    assert set(done.statuses.values()) <= {"complete"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_with_tasks_in_flight_loses_nothing(
    folder: Project, sim: Simulator, number: signal.Signals
) -> None:
    """It leaves with 0 within five seconds, also in the middle of a create; the next one sees the tasks home."""
    sim.set_speed(1)
    folder.spec("a.yaml", prompt="flies")
    with watch(folder) as running:
        wait_until(lambda: sim.requests()["create"] == 1, "the first create")
        sim.faults([{"endpoint": "create", "effect": {"stall": 0}}])
        folder.spec("b.yaml", prompt="is not answered")
        wait_until(lambda: sim.fired()[0] >= 1, "a create without an answer")
        leave(running, number)
    sim.faults([])
    sim.set_speed(600)
    with watch(folder):
        wait_until(lambda: has_videos(folder, "a", "b"), "both videos", within=40)
    assert set(sim.billed().values()) == {1}
    is_quiet(folder)


def test_killed_again_and_again_while_somebody_edits(folder: Project, sim: Simulator) -> None:
    """SIGKILL at ten random moments: every generation is billed once, and a further apply has nothing to do."""
    draw = random.Random(7)
    for life in range(10):
        folder.spec(f"new{life}.yaml", prompt=f"take {life}")
        folder.spec("changed.yaml", prompt=f"version {life}")
        with folder.running("watch", "--no-http") as running:
            time.sleep(draw.uniform(0.8, 3.0))  # the moment of death is the point
            running.process.kill()
    with watch(folder):
        names = [f"new{life}" for life in range(10)]
        wait_until(lambda: has_videos(folder, "changed", *names), "all videos", within=60)
    assert set(sim.billed().values()) == {1}
    is_quiet(folder)


def test_sighup_reads_the_settings_again(folder: Project, sim: Simulator) -> None:
    """A cap that is raised frees what it held; settings that are wrong change nothing, and are said."""
    folder.write("reconciler.toml", "max_units_per_day = 0\n")
    folder.spec("dance.yaml")
    with watch(folder) as running:
        wait_until(lambda: "cap of 0 units" in running.err.read_text(), "the cap")
        folder.write("reconciler.toml", "max_units_per_dya = 100\n")
        running.interrupt(signal.SIGHUP)
        wait_until(lambda: "not read again" in running.err.read_text(), "the mistake")
        assert sim.requests()["create"] == 0
        folder.write("reconciler.toml", "max_units_per_day = 100\n")
        running.interrupt(signal.SIGHUP)
        wait_until(lambda: has_videos(folder, "dance"), "the video")
        leave(running)
    assert list(sim.billed().values()) == [1]


def test_one_writes_and_the_others_look(folder: Project, sim: Simulator) -> None:
    """A second writer is told who writes; whoever only looks works meanwhile."""
    folder.spec("dance.yaml")
    with watch(folder) as running:
        wait_until(lambda: has_videos(folder, "dance"), "the video")
        for command in (("watch", "--no-http"), ("apply", "--yes")):
            refused = folder.run(*command)
            assert refused.code == 1
            assert str(running.process.pid) in refused.err
        assert folder.status().statuses.popitem()[1] == "complete"
        assert folder.run("plan").code == 0
        assert folder.run("show", "specs/dance.yaml").code == 0
        assert folder.run("doctor", "--quick", "--json").document["checks"]


def test_orders_are_carried_out_by_the_running_watch(folder: Project, sim: Simulator) -> None:
    """retry buys one more attempt, prune removes what nobody wants, forget forgets: each through the daemon."""
    folder.spec("bad.yaml", prompt="[[fail: too dark]]")
    old = folder.spec("old.yaml", prompt="soon unwanted")
    with watch(folder):
        wait_until(lambda: folder.status().statuses and has_videos(folder, "old"), "the video")
        wait_until(lambda: "failed" in folder.status().statuses.values(), "the failure")
        retried = folder.run("retry", "specs/bad.yaml", "--yes")
        assert retried.code == 0, str(retried)
        wait_until(lambda: sim.requests()["create"] == 3, "one more attempt")
        old.unlink()
        wait_until(lambda: "old.mp4" in folder.run("plan").out, "the orphan")
        pruned = folder.run("prune", "--yes")
        assert pruned.code == 0, str(pruned)
        assert not (folder.specs / "old.mp4").exists()
        again = folder.run("prune", "--yes")
        assert "Nothing to prune" in again.out
        refreshed = folder.run("refresh")
        assert refreshed.code == 0, str(refreshed)
    assert set(sim.billed().values()) == {1}
    assert len(sim.billed()) == 3


def test_a_callback_brings_the_result_long_before_the_next_poll(
    folder: Project, sim: Simulator
) -> None:
    """With a public URL set, the provider's callbacks make it look; junk and forged ids cost no request."""
    port = free_port()
    env = {
        "RECONCILER_CALLBACK_URL": f"http://127.0.0.1:{port}/callbacks",
        "RECONCILER_POLL_INTERVAL": "3600",
    }
    folder.spec("dance.yaml")
    with watch(folder, "--http", f"127.0.0.1:{port}", **env):
        wait_until(lambda: has_videos(folder, "dance"), "the video, after a callback", within=30)
        before = sim.requests()
        for number in range(200):
            forged = {"task_id": str(number), "task_info": {"external_task_id": f"mc1-{number}"}}
            assert httpx.post(env["RECONCILER_CALLBACK_URL"], json=forged).status_code == 204
        assert httpx.post(env["RECONCILER_CALLBACK_URL"], content=b"junk").status_code == 400
        asked = {name: count for name, count in sim.requests().items() if "callback" not in name}
        assert asked == {name: before[name] for name in asked}
    assert list(sim.billed().values()) == [1]


def test_the_page_shows_and_changes_nothing(folder: Project, sim: Simulator) -> None:
    """The page, its document and its health answer on loopback; a foreign name and a POST are refused."""
    port = free_port()
    folder.spec("dance.yaml", prompt="<script>alert(1)</script>")
    url = f"http://127.0.0.1:{port}"
    with watch(folder, "--http", f"127.0.0.1:{port}"):
        wait_until(lambda: has_videos(folder, "dance"), "the video")
        assert "specs/dance.yaml" in httpx.get(url).text
        (row,) = httpx.get(f"{url}/status.json").json()["generations"]
        assert row["status"] == "complete"
        assert httpx.get(f"{url}/healthz").json()["ok"] is True
        assert httpx.get(url, headers={"Host": "evil.example"}).status_code >= 400
        assert httpx.post(url).status_code >= 400


def test_the_log_is_json_where_asked_and_the_key_is_nowhere(
    folder: Project, sim: Simulator
) -> None:
    """One object a line; and no file that the run wrote holds the secret or a token."""
    folder.spec("dance.yaml")
    env = {"RECONCILER_LOG_FORMAT": "json", "RECONCILER_LOG_FILE": "state/watch.log"}
    with folder.running("watch", "--no-http", env=env) as running:
        wait_until(lambda: has_videos(folder, "dance"), "the video", within=30)
        leave(running)
    log = folder.state / "watch.log"
    events = [json.loads(line) for line in log.read_text().splitlines()]
    assert {"submitted", "complete"} <= {event.get("status") for event in events}
    secret = sim.env()["KLING_SECRET_KEY"].encode()
    for path in [*folder.root.rglob("*"), running.err, running.out]:
        if path.is_file():
            data = path.read_bytes()
            assert secret not in data, path
            assert b"eyJhbGciOi" not in data, path


def test_systemd_is_told(folder: Project, sim: Simulator, tmp_path: Path) -> None:
    """READY when the folder was looked at, WATCHDOG while the loop goes round, STOPPING at the end."""
    place = tmp_path / "notify"
    told: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(place))
        receiver.settimeout(0.2)

        def heard(word: str) -> bool:
            with suppress(TimeoutError):
                told.append(receiver.recv(4096).decode())
            return any(word in message for message in told)

        env = {"NOTIFY_SOCKET": str(place), "WATCHDOG_USEC": "600000"}
        with folder.running("watch", "--no-http", env=env) as running:
            wait_until(lambda: heard("READY=1"), "READY", within=30)
            wait_until(lambda: heard("WATCHDOG=1"), "WATCHDOG")
            leave(running)
        wait_until(lambda: heard("STOPPING=1"), "STOPPING")


def test_what_cannot_begin_says_why(folder: Project) -> None:
    """Without a key, with a wrong address, outside of git where commits are required: a sentence, and no traceback."""
    none = {"KLING_ACCESS_KEY": None, "KLING_SECRET_KEY": None}
    without = folder.run("watch", "--no-http", env=none)
    assert without.code == 1
    assert "KLING_ACCESS_KEY" in without.err
    assert folder.run("watch", "--http", "nonsense").code == 64
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        refused = folder.run("watch", "--http", f"127.0.0.1:{taken.getsockname()[1]}")
        assert refused.code == 1
        assert "Traceback" not in refused.err
    shutil.rmtree(folder.root / ".git")
    outside = folder.run("watch", "--no-http", env={"RECONCILER_REQUIRE_COMMITTED": "true"})
    assert outside.code == 1
    assert "git" in outside.err


def test_a_webhook_hears_of_results_and_failures(folder: Project, sim: Simulator) -> None:
    """What completes and what fails reaches the service that the settings name."""
    bodies: list[str] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Hook) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        folder.spec("good.yaml")
        folder.spec("bad.yaml", prompt="[[fail: too dark]]")
        url = f"json://127.0.0.1:{server.server_port}/hook"
        with watch(folder, RECONCILER_NOTIFY_URLS=url) as running:
            wait_until(lambda: has_videos(folder, "good"), "the video")
            wait_until(lambda: "failed" in running.err.read_text(), "the failure")
            leave(running)  # what was gathered goes out at the end
        wait_until(lambda: len(bodies) >= 2, "two messages")
        server.shutdown()
    assert any("good.yaml" in body for body in bodies)
    assert any("too dark" in body for body in bodies)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
