"""A kind is one module: a second one of another shape is bought without a line outside of its module that knows it."""

from __future__ import annotations

import base64
import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import pytest

from reconciler.core.kinds import KINDS, default_prices
from reconciler.core.progress import Ended
from reconciler.core.states import Status
from reconciler.store.values import Caps
from reconciler.workspace.read.loader import load
from tests.support import portrait
from tests.support.simulator import Simulator
from tests.workspace.builders import Cache

from .world import World, now_ms, world

MEDIA = Path(__file__).parents[1] / "media"
SPEC = "kind: portrait\nface: ../assets/girl.png\nmood: merry\n"
_UNKNOWN = {"code": 1203, "message": "no such task", "request_id": "r"}


class Provider(BaseHTTPRequestHandler):
    """A provider that knows nothing but this kind, and ends each task at once."""

    tasks: dict[str, dict[str, Any]]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        task = {"task_id": str(len(self.tasks) + 1), "path": self.path, "body": body}
        self.tasks[body["external_task_id"]] = task
        self._say(200, self._told(task, "submitted"))

    def do_GET(self) -> None:
        if self.path == "/film.mp4":
            return self._send(200, (MEDIA / "bigbuckbunny.mp4").read_bytes(), "video/mp4")
        name = self.path.removeprefix(f"{portrait.ENDPOINT}/")
        found = [one for id_, one in self.tasks.items() if name in (id_, one["task_id"])]
        return (
            self._say(200, self._told(found[0], "succeed")) if found else self._say(404, _UNKNOWN)
        )

    def _told(self, task: dict[str, Any], state: str) -> dict[str, Any]:
        port = cast("ThreadingHTTPServer", self.server).server_port
        data = {
            "task_id": task["task_id"],
            "task_status": state,
            "task_info": {"external_task_id": task["body"]["external_task_id"]},
            "task_result": {
                "videos": [{"url": f"http://127.0.0.1:{port}/film.mp4", "duration": "5"}]
            },
            "created_at": now_ms(),
            "updated_at": now_ms(),
        }
        return {"code": 0, "message": "", "request_id": "r", "data": data}

    def _say(self, status: int, envelope: dict[str, Any]) -> None:
        self._send(status, json.dumps(envelope).encode(), "application/json")

    def _send(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def _provider(root: Path) -> Iterator[tuple[World, dict[str, dict[str, Any]]]]:
    """Give a folder with one portrait in it, and what its provider was asked to make."""
    tasks: dict[str, dict[str, Any]] = {}
    with ThreadingHTTPServer(
        ("127.0.0.1", 0), type("Own", (Provider,), {"tasks": tasks})
    ) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        (root / "assets").mkdir()
        shutil.copy(MEDIA / "astronaut.png", root / "assets/girl.png")
        with world(root, cast("Simulator", _Address(server.server_port))) as project:
            project.prices = default_prices()
            project.write("dance.yaml", SPEC)
            yield project, tasks
        server.shutdown()


class _Address:
    def __init__(self, port: int) -> None:
        self.base_url = f"http://127.0.0.1:{port}"

    def env(self) -> dict[str, str]:
        keys = {"KLING_ACCESS_KEY": "a", "KLING_SECRET_KEY": "s" * 32}
        return {"KLING_BASE_URL": self.base_url, **keys}


def test_a_second_kind_goes_from_file_to_a_bought_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planned with its price, held by a cap, sent once in its own words to its own path, saved, listed, known again."""
    monkeypatch.setitem(KINDS, portrait.NAME, portrait)
    with _provider(tmp_path) as (project, tasks):
        (planned,) = project.plan().assessments
        assert planned.generation.estimated_units == Decimal(8)
        assert planned.generation.canonical.startswith('{"kind":"portrait","request":{"face":{"sha')

        project.apply(caps=Caps(per_day=Decimal(7)))
        assert not tasks
        assert "cap of 7 units per day" in project.told.holds[planned.generation.external_task_id]

        assert project.apply(caps=Caps(per_day=Decimal(8))) is Ended.SETTLED
        assert project.apply() is Ended.SETTLED
        ((name, task),) = tasks.items()
        assert (name, task["path"]) == (planned.generation.external_task_id, portrait.ENDPOINT)
        image = base64.b64encode((MEDIA / "astronaut.png").read_bytes()).decode()
        asked = {"model_name": "portrait-v1", "mood": "merry", "face": image}
        assert task["body"] == {**asked, "external_task_id": name}
        film = (MEDIA / "bigbuckbunny.mp4").read_bytes()
        assert (tmp_path / "specs/dance.mp4").read_bytes() == film
        receipt = json.loads((tmp_path / "specs/dance.receipt.json").read_text())
        assert [one["external_task_id"] for one in receipt["generations"]] == [name]

        project.lose_state()
        assert project.only().status is Status.COMPLETE
        assert project.apply() is Ended.SETTLED
        assert list(tasks) == [name]


def test_what_is_wrong_with_a_spec_of_a_second_kind_is_said_by_its_own_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its keys are its own, its rules too, and a kind that nobody has lists those that there are."""
    monkeypatch.setitem(KINDS, portrait.NAME, portrait)
    with _provider(tmp_path) as (project, _):
        project.write("a.yaml", SPEC + "video_url: a.mp4\n")
        project.write("b.yaml", SPEC.replace("merry", "none"))
        project.write("c.yaml", SPEC.replace("portrait", "landscape"))
        (tmp_path / "specs/girl.webp").write_bytes(b"RIFF")
        project.write("d.yaml", SPEC.replace("../assets/girl.png", "girl.webp"))
        problems = project.survey().desired.problems
    said = {(problem.place.file[6], problem.key): problem.message for problem in problems}
    assert "the keys are: kind, face, mood, callback_url, takes" in said["a", "video_url"]
    assert said["b", "mood"] == "`mood` cannot be `none`"
    assert said["d", "face"].endswith("is not one of .jpg, .jpeg, .png, which `face` needs")
    assert said["c", "kind"] == '`kind` is "landscape": it can be motion-control or portrait'


def test_a_spec_of_a_second_kind_is_remembered_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the cache of specs holds of it is what its file says, its price too."""
    monkeypatch.setitem(KINDS, portrait.NAME, portrait)
    monkeypatch.setattr("reconciler.workspace.read.loader.RACY_NS", 0)
    with _provider(tmp_path):
        cache = Cache()
        read, known = (
            load(tmp_path, "specs", prices=default_prices(), cache=cache).generations
            for _ in range(2)
        )
    assert cache.specs() == ["specs/dance.yaml"]
    assert known == read
