"""A bucket for a test: moto's S3 server on loopback, slowed down and broken as the test wants, and what lies in it."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import httpx
import obstore
from obstore.store import S3Store
from werkzeug.exceptions import HTTPException
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

PIECES = 16
WINDOW = 32 * 1024  # bytes that the server's system takes unread: what a kill cuts off is not there
ACCESS_KEY = "AKIATESTSTHATNOBODYUSES"
SECRET_KEY = "a-bucket-secret-that-nobody-may-ever-see"


@dataclass
class Bucket:
    """A running S3 server with one bucket."""

    name: str
    url: str = ""
    asked: list[tuple[str, str]] = field(default_factory=list)  # method and path, as they began
    delay: float = 0.0  # s that an upload takes, most of them while its bytes are read
    most: int = 0  # uploads at the same time
    cut: int = 0  # uploads whose sender died in the middle
    spoil: bool = False  # what is uploaded arrives as other bytes
    _busy: list[str] = field(default_factory=list)
    refusal: tuple[int, str] | None = None  # status and S3's code, in place of every answer

    def env(self, prefix: str = "in") -> dict[str, str]:
        """Return the environment that leads a program here."""
        return {
            "RECONCILER_MEDIA_STORE": f"s3://{self.name}/{prefix}".rstrip("/"),
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.url,
        }

    def objects(self) -> dict[str, bytes]:
        """Return everything in the bucket, by key."""
        store = S3Store(
            self.name,
            config={
                "access_key_id": ACCESS_KEY,
                "secret_access_key": SECRET_KEY,
                "endpoint": self.url,
                "region": "us-east-1",
            },
            client_options={"allow_http": True},
        )
        found = obstore.list(store).collect()
        return {item["path"]: bytes(obstore.get(store, item["path"]).bytes()) for item in found}

    def uploads(self) -> Counter[str]:
        """Return how many uploads of each object began."""
        return Counter(
            path.removeprefix(f"/{self.name}/") for method, path in self.asked if method == "PUT"
        )

    def application(self, storage: Any) -> Callable[..., Iterable[bytes]]:
        """Return the WSGI application in front of the server."""

        def answer(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
            method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
            self.asked.append((method, path))
            if self.refusal is not None:
                status, code = self.refusal
                body = f"<Error><Code>{code}</Code></Error>" if method != "HEAD" else ""
                start(f"{status} Refused", [("Content-Type", "application/xml")])
                return [body.encode()]
            if method == "PUT":
                length = int(environ.get("CONTENT_LENGTH") or 0)
                self._busy.append(path)
                self.most = max(self.most, len(self._busy))
                data = self._read_slowly(environ["wsgi.input"], length)
                self._busy.remove(path)
                if len(data) < length:  # the sender is gone: as S3 does, take nothing
                    self.cut += 1
                    start("400 Incomplete", [])
                    return []
                environ["wsgi.input"] = BytesIO(bytes(length) if self.spoil else data)
            taken: Iterable[bytes] = storage(environ, start)
            return taken

        return answer

    def _read_slowly(self, stream: Any, length: int) -> bytes:
        """Read a body in pieces, so that whoever sends it can die in the middle."""
        pieces = []
        piece = max(-(-length // PIECES), 1)
        for start in range(0, length, piece):
            time.sleep(self.delay / PIECES)
            try:
                read = stream.read(min(piece, length - start))
            except (OSError, HTTPException):
                break
            pieces.append(read)
            if len(read) < min(piece, length - start):
                break
        return b"".join(pieces)


class _Quiet(WSGIRequestHandler):
    def log(
        self,
        type: str,  # noqa: A002 - the library's name
        message: str,
        *args: Any,
    ) -> None:
        """Say nothing."""


@contextmanager
def bucket(name: str = "videos") -> Iterator[Bucket]:
    """Run an S3 server with an empty bucket while the block lasts."""
    # Here, since it takes most of a second, and every worker reads every test.
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

    made = Bucket(name)
    application = made.application(DomainDispatcherApplication(create_backend_app))
    server: BaseWSGIServer = make_server(
        "127.0.0.1", 0, application, threaded=True, request_handler=_Quiet
    )
    server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, WINDOW)
    made.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        with httpx.Client(trust_env=False) as http:
            http.post(f"{made.url}/moto-api/reset").raise_for_status()  # one process, one storage
            http.put(f"{made.url}/{name}").raise_for_status()
        made.asked.clear()
        yield made
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
