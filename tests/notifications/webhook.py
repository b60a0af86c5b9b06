"""A real webhook on loopback: it keeps what is posted to it and answers as a test wants, or not at all."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Webhook:
    """What came, and how it is answered."""

    port: int = 0
    status: int = 200
    location: str = ""
    came: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    answering: threading.Event = field(default_factory=threading.Event)

    def url(self, rest: str = "") -> str:
        """Return its Apprise URL."""
        return f"json://127.0.0.1:{self.port}/{rest}"


@contextmanager
def webhook(*, dead: bool = False) -> Iterator[Webhook]:
    """Serve until the block ends; a dead one accepts connections and says nothing until then."""
    hook = Webhook()
    if not dead:
        hook.answering.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            hook.came.append(json.loads(body))
            hook.paths.append(self.path)
            hook.answering.wait()
            self.send_response(hook.status)
            self.send_header("content-length", "0")
            if hook.location:
                self.send_header("location", hook.location)
            self.end_headers()

        def do_GET(self) -> None:
            hook.paths.append(self.path)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

        def handle(self) -> None:
            with suppress(ConnectionError):  # the sender had enough of waiting
                super().handle()

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hook.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield hook
        finally:
            hook.answering.set()
            server.shutdown()
            thread.join()
