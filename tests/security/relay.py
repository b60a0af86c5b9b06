"""Somebody in between: passes every request on to the simulator, keeps what it carried, and changes what comes back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx

Change = Callable[["Carried", bytes], tuple[int, dict[str, str], bytes] | None]
"""Given a request and the body of its answer: another answer, or None for the simulator's own."""


@dataclass(frozen=True)
class Carried:
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def token(self) -> str:
        """What it identified itself with."""
        return self.headers.get("authorization", "").removeprefix("Bearer ")

    def __bytes__(self) -> bytes:
        head = f"{self.method} {self.path} {self.headers}"
        return head.encode("utf-8", "surrogateescape") + self.body


@dataclass
class Relay:
    """One origin on loopback."""

    target: str
    url: str = ""
    change: Change = lambda _carried, _body: None
    rewrite: Callable[[str], str] = lambda path: path  # what is asked for instead
    came: list[Carried] = field(default_factory=list)

    @property
    def tokens(self) -> set[str]:
        """Every token that was ever shown here."""
        return {carried.token for carried in self.came} - {""}


@contextmanager
def relay(target: str = "") -> Iterator[Relay]:
    """Pass on until the block ends; without a target everything is answered with 204."""
    made = Relay(target)
    client = httpx.Client(trust_env=False, timeout=30)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            carried = Carried(self.command, self.path, headers, body)
            made.came.append(carried)
            status, kept, data = 204, {}, b""
            if made.target:
                kept = {name: value for name, value in headers.items() if name != "host"}
                reply = client.request(
                    self.command, made.target + made.rewrite(self.path), headers=kept, content=body
                )
                status, data = reply.status_code, reply.content
                kept = {
                    n: v
                    for n, v in reply.headers.items()
                    if n in {"content-type", "date", "etag", "content-range"}
                }
            status, kept, data = made.change(carried, data) or (status, kept, data)
            self.send_response_only(status)
            for name, value in {**kept, "content-length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        do_GET = do_POST = do_PUT = do_HEAD = answer  # noqa: N815 - the library's names

        def log_message(self, *args: object) -> None:
            pass

        def handle(self) -> None:
            with suppress(ConnectionError):
                super().handle()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    made.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        client.close()
