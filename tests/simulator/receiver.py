"""Somebody who is called back: a real server on loopback that keeps what it was told."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Receiver:
    """What came so far. A call to a path that begins with `/slow` is answered when `release` is set."""

    url: str = ""
    told: list[dict[str, Any]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    release: threading.Event = field(default_factory=threading.Event)

    @property
    def statuses(self) -> list[str]:
        """The statuses that were told, in the order in which they came."""
        return [body["task_status"] for body in self.told]

    def until(self, count: int) -> list[str]:
        """Wait until so many calls have come; returns their statuses."""
        wait_for(lambda: len(self.told) >= count, lambda: f"{count} calls, not {self.statuses}")
        return self.statuses


def wait_for(holds: Callable[[], bool], what: Callable[[], str]) -> None:
    """Wait until a condition holds, for ten seconds at most."""
    deadline = time.monotonic() + 10
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited in vain for {what()}")
        time.sleep(0.005)


@contextmanager
def receiving(*, status: int = 204) -> Iterator[Receiver]:
    """Listen while the block lasts, and answer every call with this status."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.path.startswith("/slow"):
                receiver.release.wait(10)
            receiver.headers.append({name.lower(): text for name, text in self.headers.items()})
            receiver.bodies.append(body)
            receiver.told.append(json.loads(body))
            self.send_response(status)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as inherited
            """Keep quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        receiver.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield receiver
        finally:
            receiver.release.set()
            server.shutdown()
            thread.join()
