"""A network without sockets: requests reach ASGI applications of the same process, late, and sometimes never.

What goes wrong on a real network goes wrong here with the same httpx errors: latency and outages by the wire's own
doing, and whatever an application does to the transport that it finds in its scope. Not modelled: connections that
are kept open, and with them the pool that could be full.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import AsyncIterator, Callable
from typing import Literal

import httpx
from starlette.types import ASGIApp, Message, Scope

from reconciler.simulator.connection import TRANSPORT
from tests.simulation.loop import running

Outage = Literal["", "refused", "timeout"]

AGAIN_S = 1.0
"""Seconds after which what did not get through is sent again."""


class Wire(httpx.AsyncBaseTransport):
    """Leads to every origin that is served; shared by all clients, and never closed by one of them."""

    down: Outage = ""
    """`refused`: nobody listens, and what is under way is reset. `timeout`: nothing gets through until it is over."""

    def __init__(self, *, seed: str = "", latency: tuple[float, float] = (0.01, 0.2)) -> None:
        """`latency` is the least and the most that one way takes, in seconds; `seed` decides the draws."""
        self._draw = random.Random(seed)
        self._latency = latency
        self._apps: dict[str, ASGIApp] = {}
        self._serving: set[asyncio.Task[None]] = set()
        self._context = contextvars.copy_context()  # the servers': a client's own ends with it
        self.on_its_way: Callable[[httpx.Request], None] = lambda _: None
        """Called for each request that has left and has not arrived."""
        self.crashes: list[Exception] = []
        """What applications raised rather than answer; a test that forgets to look is worth less."""

    def serve(self, origin: str, app: ASGIApp) -> None:
        """Let `app` answer at an origin (scheme, host and port)."""
        self._apps[origin] = app

    def leave(self, origin: str) -> None:
        """Let nobody listen at an origin any more."""
        del self._apps[origin]

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request; returns its answer, whose body is still under way."""
        limits = request.extensions.get("timeout", {})
        app = await self._connected(request.url, limits.get("connect"))
        assert isinstance(request.stream, httpx.AsyncByteStream)
        body = b"".join([part async for part in request.stream])
        connection = _Connection(self, request, body)
        serving = asyncio.get_running_loop().create_task(
            connection.serve(app), name=f"wire {request.url.path}", context=self._context.copy()
        )
        self._serving.add(serving)
        self.on_its_way(request)
        serving.add_done_callback(self._serving.discard)
        return await connection.answer(limits.get("read"))

    def draw_latency(self) -> float:
        """Return how long one way takes this time, s."""
        return self._draw.uniform(*self._latency)

    async def passage(self) -> None:
        """Take the time of one way; raises httpx.ReadError where the connection is reset."""
        await asyncio.sleep(self.draw_latency())
        await self.unblocked()

    async def unblocked(self) -> None:
        """Wait for the end of an outage; raises httpx.ReadError where the connection is reset."""
        while self.down == "timeout":
            await asyncio.sleep(AGAIN_S)
        if self.down == "refused":
            raise httpx.ReadError("connection reset")

    async def _connected(self, url: httpx.URL, patience: float | None) -> ASGIApp:
        try:
            async with asyncio.timeout(patience):
                await self.passage()
        except TimeoutError:
            raise httpx.ConnectTimeout("") from None
        except httpx.ReadError:
            raise httpx.ConnectError("All connection attempts failed") from None
        app = self._apps.get(f"{url.scheme}://{url.netloc.decode()}")
        if app is None:
            raise httpx.ConnectError("All connection attempts failed")
        return app


class _Connection:
    """One request and its answer, from both ends: `answer` and `next` are the client's, the rest is the server's."""

    def __init__(self, wire: Wire, request: httpx.Request, body: bytes) -> None:
        self._wire = wire
        self._request = request
        self._body: list[bytes] = [body]
        self._arriving: asyncio.Queue[tuple[float, Message | None]] = asyncio.Queue()
        self._latency = 0.0
        self._gone = asyncio.Event()

    async def answer(self, patience: float | None) -> httpx.Response:
        """Return the answer once its head is here; `patience` bounds every silence, s."""
        try:
            head = await self.next(patience)
        except BaseException:
            self.leave()
            raise
        if head is None:
            raise httpx.RemoteProtocolError("Server disconnected without sending a response.")
        stream = _Body(self, patience, _announced(head, self._request.method))
        return httpx.Response(head["status"], headers=head["headers"], stream=stream)

    async def next(self, patience: float | None) -> Message | None:
        """Return what the server sent next, None for the end of the connection."""
        try:
            async with asyncio.timeout(patience):
                at, message = await self._arriving.get()
                await asyncio.sleep(at - running().time())
                await self._wire.unblocked()
        except TimeoutError:
            raise httpx.ReadTimeout("") from None
        return message

    def leave(self) -> None:
        """End the connection; what the server still sends goes nowhere."""
        self._gone.set()

    async def serve(self, app: ASGIApp) -> None:
        """Let the application answer, once the request has reached it."""
        try:
            await self._wire.passage()
        except httpx.ReadError:
            self._put(None)
            return
        self._latency = self._wire.draw_latency()
        try:
            await app(self._scope(), self._receive, self._send)
        except Exception as error:  # noqa: BLE001 - as below a server: the others go on
            self._wire.crashes.append(error)
        self._put(None)
        self._gone.set()

    def close(self) -> None:
        """As of an asyncio transport: end the connection after what was sent."""
        self._put(None)
        self._gone.set()

    def abort(self) -> None:
        """As of an asyncio transport: end the connection, and lose what is under way."""
        while not self._arriving.empty():
            self._arriving.get_nowait()
        self.close()

    def _scope(self) -> Scope:
        url = self._request.url
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": self._request.method,
            "scheme": url.scheme,
            "path": url.path,
            "raw_path": url.raw_path.partition(b"?")[0],
            "query_string": url.query,
            "root_path": "",
            "headers": [(name.lower(), value) for name, value in self._request.headers.raw],
            "client": ("127.0.0.1", 1),
            "server": (url.host, url.port),
            TRANSPORT: self,
        }

    async def _receive(self) -> Message:
        if self._body:
            return {"type": "http.request", "body": self._body.pop(), "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if self._gone.is_set():
            return
        if self._request.method == "HEAD" and message["type"] == "http.response.body":
            message = {**message, "body": b""}
        self._put(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self._gone.set()

    def _put(self, message: Message | None) -> None:
        self._arriving.put_nowait((running().time() + self._latency, message))


class _Body(httpx.AsyncByteStream):
    """An answer's body as it arrives."""

    def __init__(
        self, connection: _Connection, patience: float | None, announced: int | None
    ) -> None:
        self._connection = connection
        self._patience = patience
        self._announced = announced

    async def __aiter__(self) -> AsyncIterator[bytes]:
        came, more = 0, True
        while more:
            message = await self._connection.next(self._patience)
            if message is None:
                raise httpx.RemoteProtocolError(
                    f"peer closed connection without sending complete message body: {came} bytes came"
                )
            body, more = message.get("body", b""), message.get("more_body", False)
            came += len(body)
            more = more and came != self._announced
            if body:
                yield body

    async def aclose(self) -> None:
        """Tell the server that nobody listens any more."""
        self._connection.leave()


def _announced(head: Message, method: str) -> int | None:
    """Return how long the body is said to be, bytes; None where nothing is said."""
    if method == "HEAD":
        return 0
    lengths = [int(value) for name, value in head["headers"] if name.lower() == b"content-length"]
    return lengths[0] if lengths else None
