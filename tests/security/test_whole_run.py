"""Whole runs with distinctive keys and every token on record: whatever a run wrote, said or sent elsewhere is searched."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.security.conftest import KEYS
from tests.security.relay import Carried, Change, Relay, relay
from tests.support.project import Done, Project, picture, wait_until
from tests.support.simulator import Simulator

MISTAKEN = """\
import sys
from reconciler.kling import wire
from reconciler.cli.main import run
whole = wire.parse_task
count = 0
def parse_task(data):
    global count
    count += 1
    if count in (2, 3, 7):
        raise RuntimeError("a mistake of our own")
    return whole(data)
wire.parse_task = parse_task
sys.exit(run(sys.argv[1:]))
"""


@dataclass
class World:
    """A project between a provider and a host of results that both keep what they were sent."""

    project: Project
    sim: Simulator
    api: Relay
    results: Relay
    outside: Relay  # callbacks, notifications, and wherever a redirect may lead

    def assert_kept_home(self) -> None:
        """Search every file that was written, all that was said, and every request that reached another origin."""
        tokens = self.api.tokens
        assert tokens
        secrets = {KEYS["secret_key"], KEYS["api_key"], *tokens} - {KEYS["access_key"]}
        base = self.project.root.parent
        places = {str(path): path.read_bytes() for path in base.rglob("*") if path.is_file()}
        assert any(name.endswith("reconciler.db") for name in places)
        places |= {f"said {n}": text.encode() for n, text in enumerate(self.project.said)}
        elsewhere = [*self.results.came, *self.outside.came]
        places |= {
            f"sent {n} {carried.path}": bytes(carried) for n, carried in enumerate(elsewhere)
        }
        for place, data in places.items():
            found = [secret for secret in secrets if secret.encode() in data]
            assert not found, (place, found)
            signatures = [t for t in tokens if t.rpartition(".")[2].encode() in data]
            assert not signatures, place
        assert not [carried for carried in elsewhere if "authorization" in carried.headers]


@pytest.fixture
def world(tmp_path: Path, project: Project, sim: Simulator) -> Iterator[World]:
    """A provider that quotes what it is shown, redirects, and hands out URLs of another host."""
    (tmp_path / "tmp").mkdir()
    with relay(sim.base_url) as api, relay(sim.results_url) as results, relay() as outside:
        project.env |= {
            "KLING_BASE_URL": api.url,
            "TMPDIR": str(tmp_path / "tmp"),
            "RECONCILER_CALLBACK_URL": f"{outside.url}/callbacks",
            "RECONCILER_NOTIFY_URLS": outside.url.replace("http:", "json:") + "/notify",
        }
        made = World(project, sim, api, results, outside)
        api.change = made_hostile(made)
        yield made


def made_hostile(world: World) -> Change:
    """Let the provider quote keys and tokens, old ones too, and redirect; and lead results over the recording host."""
    count = 0

    def change(carried: Carried, body: bytes) -> tuple[int, dict[str, str], bytes] | None:
        nonlocal count
        count += 1
        known = sorted(world.api.tokens) if "." in carried.token else []
        secret = KEYS["secret_key"] if known else ""
        quoted = " ".join(["key", *known, secret, carried.headers.get("authorization", "")])
        envelope = {
            "code": 5000,
            "message": quoted,
            "request_id": quoted,
            "data": {"task_id": quoted},
        }
        if count % 5 == 0:
            return 500, {"content-type": "application/json"}, json.dumps(envelope).encode()
        if count % 7 == 0:
            return 307, {"location": f"{world.outside.url}{carried.path}"}, b""
        if count % 11 == 0:
            refused = json.dumps(envelope | {"code": 1004}).encode()
            return 401, {"content-type": "application/json"}, refused
        document = json.loads(body) if b'"failed"' in body else {}
        if isinstance(document.get("data"), dict):
            document["data"]["task_status_msg"] = quoted
            return 200, {"content-type": "application/json"}, json.dumps(document).encode()
        moved = body.replace(world.sim.results_url.encode(), world.results.url.encode())
        return 200 if body else 204, {"content-type": "application/json"}, moved

    return change


def lead_astray(world: World) -> None:
    """Let every third result be redirected to the API's host, and every fourth to a stranger."""
    count = 0

    def change(carried: Carried, _: bytes) -> tuple[int, dict[str, str], bytes] | None:
        nonlocal count
        count += 1
        if count % 4 == 3:
            return 302, {"location": f"{world.api.url}/v1/videos/motion-control/astray"}, b""
        if count % 4 == 1:
            return 302, {"location": f"{world.outside.url}/astray.mp4"}, b""
        return None

    world.results.change = change


def wishes(project: Project) -> None:
    """Write specs that succeed, fail, are refused, and need a local image."""
    picture(project.specs / "girl.png")
    for number in range(3):
        project.spec(f"dance{number}.yaml", image_url="girl.png", prompt=f"dance {number}")
    project.spec("fails.yaml", prompt="[[fail: no]]")
    project.spec("policy.yaml", prompt="[[policy]]")


def test_apply_and_doctor_keep_the_keys_home(world: World) -> None:
    """A hostile provider, redirects of every kind, refused keys, and mistakes of our own."""
    project = world.project
    wishes(project)
    lead_astray(world)
    wrong: dict[str, str | None] = {"KLING_ACCESS_KEY": "nobody"}
    project.apply("--timeout", "1", env=wrong)
    project.run("doctor", "--json", env=wrong)
    arguments = ["--root", str(project.root), "apply", "--yes", "--timeout", "4"]
    project.run(command=[sys.executable, "-c", MISTAKEN, *arguments])
    project.apply("--timeout", "6")
    for command in ("doctor", "status", "plan"):
        project.run(command, "--json")
        project.run(command)
    project.run("plan", "--refresh", "--json")
    project.run("show", "specs/dance0.yaml")
    project.run("show", "specs/fails.yaml", "--json")
    static: dict[str, str | None] = {
        "KLING_ACCESS_KEY": None,
        "KLING_SECRET_KEY": None,
        "KLING_API_KEY": KEYS["api_key"],
    }
    project.apply("--timeout", "1", env=static)
    assert len(world.outside.came) > 0
    assert not [c for c in world.api.came if c.path.endswith("astray") and c.token]
    world.assert_kept_home()
    assert set(world.sim.billed().values()) <= {1}


@pytest.mark.parametrize("form", ["json", "console"])
def test_watch_keeps_the_keys_home(world: World, form: str) -> None:
    """A daemon with a log file, notifications, callbacks, settings read again, and an end by SIGKILL."""
    project = world.project
    wishes(project)
    lead_astray(world)
    env: dict[str, str | None] = {
        "RECONCILER_LOG_FORMAT": form,
        "RECONCILER_LOG_FILE": "watch.log",
        "RECONCILER_SETTLE_SECONDS": "0.1",
    }
    with project.running("watch", "--http", "127.0.0.1:0", env=env) as running:
        log = project.root / "watch.log"
        wait_until(lambda: list(project.specs.glob("*.mp4")), "a result", 40)
        project.run("refresh")
        running.interrupt(signal.SIGHUP)
        wait_until(lambda: "again" in log.read_text(), "settings read again")
        wait_until(
            lambda: any("notify" in c.path for c in world.outside.came), "a notification", 40
        )
        running.process.kill()
        running.ended()
    project.run("status")
    world.assert_kept_home()
    assert set(world.sim.billed().values()) <= {1}


def test_the_search_would_find_a_token(world: World) -> None:
    """What is searched for is found where it is: in a file, however it is called."""
    world.project.spec()
    done: Done = world.project.apply("--timeout", "3")
    assert "Traceback" not in done.err
    token = next(iter(world.api.tokens))
    (world.project.root / "state" / "anything").write_bytes(os.urandom(100) + token.encode())
    with pytest.raises(AssertionError, match="anything"):
        world.assert_kept_home()
