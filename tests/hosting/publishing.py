"""A project of local videos, a simulator behind a reader of every URL that a create carries, and kills in between."""

from __future__ import annotations

import hashlib
import json
import random
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

from tests.support.bucket import SECRET_KEY, Bucket
from tests.support.project import Project
from tests.support.simulator import Simulator
from tests.workspace.builders import make_video


@dataclass
class Reader:
    """Stands before the provider, and reads each reference video at the moment at which it is asked to."""

    provider: str
    url: str = ""
    read: list[tuple[str, str]] = field(
        default_factory=list
    )  # external id, SHA-256 of what was read
    urls: list[str] = field(default_factory=list)

    def see(self, body: dict[str, Any]) -> None:
        """Fetch what a create refers to, without any key; nothing beyond this machine is ever asked."""
        if httpx.URL(body["video_url"]).host != "127.0.0.1":
            return
        self.urls.append(body["video_url"])
        answer = httpx.get(body["video_url"], trust_env=False)
        digest = hashlib.sha256(answer.content).hexdigest() if answer.is_success else "unreadable"
        self.read.append((body["external_task_id"], digest))


PATIENT = {"RECONCILER_REQUEST_TIMEOUT": "20", "NO_PROXY": "127.0.0.1"}
"""Settings under which a create may wait until the reader has read its video, on a machine that is busy."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that were killed; whatever else breaks, breaks the test's outcome."""


@contextmanager
def reader(provider: str) -> Iterator[Reader]:
    """Pass requests on to a provider while the block lasts."""
    made = Reader(provider)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass_on(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            body = self.rfile.read(length)
            if len(body) < length:  # the sender was killed in the middle of its request
                self.close_connection = True
                return
            if self.command == "POST":
                made.see(json.loads(body))
            headers = {
                name: value
                for name, value in self.headers.items()
                if name.lower() not in {"host", "connection", "accept-encoding"}
            }
            with httpx.Client(trust_env=False, timeout=30) as http:
                answer = http.request(
                    self.command, made.provider + self.path, content=body, headers=headers
                )
            self.send_response(answer.status_code)
            for name in ("content-type", "date"):
                if name in answer.headers:
                    self.send_header(name, answer.headers[name])
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        do_GET = do_POST = do_PUT = _pass_on  # noqa: N815 - the library's names

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            """Say nothing."""

    server = _Server(("127.0.0.1", 0), Handler)
    made.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def film(path: Path, number: int) -> Path:
    """Make a short film like no other: a box of its own follows the black frames.

    Every third one is larger than what a system sends on for a process that was killed: a kill can cut it off.
    """
    size = 6_000_000 if number % 3 == 0 else 200_000
    if not path.exists():
        make_video(path)
    padding = random.Random(number).randbytes(size)
    path.write_bytes(path.read_bytes() + struct.pack(">I4s", size + 8, b"free") + padding)
    return path


@dataclass
class Shoot:
    """A project of as many specs as videos, beside one video that no spec names."""

    project: Project
    digests: list[str]
    unnamed: str

    @classmethod
    def prepare(cls, root: Path, env: dict[str, str], videos: int) -> Shoot:
        """Write specs and videos."""
        project = Project(root, env)
        plain = make_video(root / "plain.mp4")
        digests = []
        for number in range(videos):
            path = project.specs / f"clip{number}.mov"
            path.write_bytes(plain.read_bytes())
            digests.append(hashlib.sha256(film(path, number).read_bytes()).hexdigest())
            project.spec(f"wish{number}.yaml", video_url=path.name, prompt=f"dance {number}")
        unnamed = film(plain.rename(project.specs / "unnamed.mov"), -1)
        return cls(project, digests, hashlib.sha256(unnamed.read_bytes()).hexdigest())

    def kill_during_uploads(self, store: Bucket, draw: random.Random) -> bool:
        """Run apply and kill it at random while files are uploaded; returns whether it was still at it."""
        begun = sum(store.uploads().values())
        after = draw.randint(1, 4)
        with self.project.running("apply", "--yes") as running:
            while sum(store.uploads().values()) < begun + after:
                if running.process.poll() is not None:
                    return False
                time.sleep(0.005)
            time.sleep(draw.uniform(0, store.delay * 1.2))
            running.process.kill()
            running.process.wait()
        return True


def assert_published(shoot: Shoot, store: Bucket, sim: Simulator, seen: Reader, kills: int) -> None:
    """Every object once and no other, every id billed once, every URL readable when it was sent, no secret kept."""
    project = shoot.project
    done = project.apply()
    assert done.code == 0, str(done)
    keys = {f"in/{digest}.mov" for digest in shoot.digests}
    objects = store.objects()
    assert objects.keys() == keys
    assert all(hashlib.sha256(data).hexdigest() in key for key, data in objects.items())
    assert store.uploads().keys() == keys
    assert sum(store.uploads().values()) <= len(keys) + 2 * kills, store.uploads()
    assert sorted(sim.billed().values()) == [1] * len(shoot.digests)
    assert {digest for _, digest in seen.read} == set(shoot.digests)
    before = store.uploads()
    project.lose("outputs")
    assert project.apply().code == 0
    assert store.uploads() == before
    assert_nothing_leaked(shoot, seen)


def assert_nothing_leaked(shoot: Shoot, seen: Reader) -> None:
    """Neither the store's key nor a signature is in any file or in anything that was said."""
    signatures = {url.partition("X-Amz-Signature=")[2] for url in seen.urls}
    assert all(signatures)
    kept = b"".join(
        path.read_bytes()
        for path in sorted(shoot.project.root.rglob("*"))
        if path.is_file() and path.suffix not in {".mp4", ".mov"}
    )
    said = "".join(shoot.project.said).encode() + kept
    for secret in (SECRET_KEY, "X-Amz-Signature", *signatures):
        assert secret.encode() not in said
