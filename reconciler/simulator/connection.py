"""The sockets below ASGI: a listening port, and a way for an application to end its connection as a network would.

ASGI can only answer; an application that raises makes the server answer 500. So the protocol puts the transport
into the scope, and an application that has it can hang up. Two ports share one loop and neither may take the
process's signals, so uvicorn's protocol is used here without its server.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import cast

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

TRANSPORT = "simulator.transport"
GRACE_S = 1.0
"""Real seconds that answers under way get when a port closes."""


class TransportProtocol(H11Protocol):
    """HTTP/1.1 that tells the application which transport it answers on."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin a connection whose requests carry the transport in their scope."""
        super().connection_made(transport)
        app = cast("ASGIApp", self.app)

        async def with_transport(scope: Scope, receive: Receive, send: Send) -> None:
            await app({**scope, TRANSPORT: transport}, receive, send)

        self.app = with_transport


class Port:
    """A loopback port that is bound from the start and answers between `open` and `close`."""

    def __init__(self, host: str, port: int) -> None:
        """`port` 0 lets the system choose. Raises ValueError for a host that is not loopback, OSError when taken."""
        if host != "localhost" and not ipaddress.ip_address(host).is_loopback:
            raise ValueError(f"{host}: the simulator listens on loopback addresses only")
        # Said to be TCP, or asyncio leaves Nagle's algorithm on and every answer takes 40 ms.
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._server: asyncio.Server | None = None
        self._state = ServerState()
        try:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._listener.bind((host, port))
        except OSError:
            self._listener.close()
            raise
        name = f"[{host}]" if ":" in host else host
        self.url = f"http://{name}:{self._listener.getsockname()[1]}"

    async def __aenter__(self) -> Port:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def open(self, app: ASGIApp) -> None:
        """Let `app` answer."""
        config = uvicorn.Config(
            app,
            ws="none",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            timeout_keep_alive=75,
        )
        config.load()
        self._server = await asyncio.get_running_loop().create_server(
            lambda: TransportProtocol(config, self._state, {}), sock=self._listener
        )

    async def close(self) -> None:
        """Take no more requests, give answers under way their grace, then cut what is left; once is enough."""
        if self._server is not None:
            self._server.close()
        self._listener.close()
        for connection in list(self._state.connections):
            connection.shutdown()
        await self._settled()
        for connection in list(self._state.connections):
            connection.transport.abort()
        await self._settled()

    async def _settled(self) -> None:
        # One turn of the loop lets closed transports go, also when nobody is being answered.
        await asyncio.sleep(0)
        if self._state.tasks:
            await asyncio.wait(self._state.tasks, timeout=GRACE_S)


async def hang_up(scope: Scope, receive: Receive, *, flush: bool) -> None:
    """Close the connection of a request, and return once nothing more can be answered on it.

    `flush` lets what was sent so far out first. Below a server that gives no transport (an ASGI client in the
    same process) it raises ConnectionAbortedError, which is what such a client sees of a lost connection.
    """
    transport: asyncio.Transport | None = scope.get(TRANSPORT)
    if transport is None:
        raise ConnectionAbortedError("the simulated connection was cut")
    if flush:
        transport.close()
    else:
        transport.abort()
    await gone(receive)


async def gone(receive: Receive) -> None:
    """Return when the other side, or this one, has closed the connection of a request."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def gone_within(receive: Receive, seconds: float) -> bool:
    """Wait for real seconds; returns True at once when the connection is closed meanwhile."""
    try:
        await asyncio.wait_for(gone(receive), seconds)
    except TimeoutError:
        return False
    return True
