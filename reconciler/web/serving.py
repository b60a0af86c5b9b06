"""A listening port around an application, on the loop that runs already: no signals taken, nothing logged.

uvicorn's protocol is used without its server, which would take the process's signals.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.server import ServerState

from reconciler.core.errors import SettingsError

_GRACE_S = 1.0
"""Seconds that answers under way get when the port closes."""
_SILENT_S = 10.0
"""Seconds within which a connection must have asked for something, again and again."""
_MOST_CONNECTIONS = 200
"""More than this would take the files that the work itself needs to open."""
_HIGHEST_PORT = 65_535
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - recognised here, bound to by nobody
_CLOSED_HINT = (
    "Set RECONCILER_PAGE_TOKEN in the environment or in `.env` (`openssl rand -hex 24` makes one), or serve the page "
    "on 127.0.0.1."
)
_REASONS = {
    errno.EADDRINUSE: "something is already listening there",
    errno.EADDRNOTAVAIL: "it is not an address of this machine",
    errno.EACCES: "this user may not listen there",
}


class BoundedProtocol(H11Protocol):
    """HTTP/1.1 that takes so many connections and no more, and none that stays silent."""

    def __init__(
        self, config: uvicorn.Config, state: ServerState, among: dict[BoundedProtocol, None]
    ) -> None:
        """`among` holds the open connections, the oldest first."""
        super().__init__(config, state, {})
        self._among = among
        self._last: RequestResponseCycle | None = None
        self._silence: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin a connection; where there are too many, hang up on the oldest that waits for no answer."""
        super().connection_made(transport)
        self._among[self] = None
        self._listen()
        if len(self._among) > _MOST_CONNECTIONS:
            oldest = next((one for one in self._among if not one.is_answering), self)
            oldest.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection at once, however many come and go."""
        self._among.pop(self, None)
        if self._silence:
            self._silence.cancel()
        super().connection_lost(exc)

    @property
    def is_answering(self) -> bool:
        """Whether a request is under way that has its answer yet to come."""
        return (cycle := self._cycle) is not None and not cycle.response_complete

    @property
    def _cycle(self) -> RequestResponseCycle | None:
        return cast("RequestResponseCycle | None", self.cycle)  # None before the first request

    def _listen(self) -> None:
        self._last = self._cycle
        self._silence = self.loop.call_later(_SILENT_S, self._hang_up_if_silent)

    def _hang_up_if_silent(self) -> None:
        """End a connection on which nothing was asked for some time, however many bytes trickled in."""
        if self._cycle is self._last and not self.is_answering:
            self.transport.abort()
        else:
            self._listen()


@asynccontextmanager
async def serving(
    app: ASGIApp, host: str, port: int, *, is_guarded: bool = False
) -> AsyncIterator[str]:
    """Serve until the block ends, which takes at most a second; gives the URL for this machine's browser.

    `port` 0 lets the system choose. Unless the application `is_guarded` by a token, only loopback is served.

    Raises:
        SettingsError: the port is taken, the host is no address of this machine, or other machines would see pages
            that are not guarded.
    """
    listener = await _listener(host, port, is_guarded=is_guarded)
    for name in ("uvicorn.error", "uvicorn.access"):  # would write a line for each junk request
        logging.getLogger(name).disabled = True
    config = uvicorn.Config(
        app, ws="none", lifespan="off", log_config=None, access_log=False, proxy_headers=False
    )
    config.load()
    state, among = ServerState(), dict[BoundedProtocol, None]()
    server = await asyncio.get_running_loop().create_server(
        lambda: BoundedProtocol(config, state, among), sock=listener
    )
    try:
        yield _url(listener)
    finally:
        server.close()
        await _close(state)


async def _listener(host: str, port: int, *, is_guarded: bool) -> socket.socket:
    if not 0 <= port <= _HIGHEST_PORT:  # the system would listen at another one, silently
        raise _cannot(host, port, f"ports go up to {_HIGHEST_PORT}")
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
        )
        family, kind, protocol, _, address = found[0]
        if (
            not is_guarded
            and not ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback
        ):
            raise SettingsError(
                f"the status page at {host}:{port} would be open to other machines, and no token is set",
                hint=_CLOSED_HINT,
            )
        # Said to be TCP, or asyncio leaves Nagle's algorithm on and every answer takes 40 ms.
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.setblocking(False)
        except BaseException:
            listener.close()
            raise
    except socket.gaierror:
        raise _cannot(host, port, _REASONS[errno.EADDRNOTAVAIL]) from None
    except OSError as error:
        number = error.errno or 0
        raise _cannot(host, port, _REASONS.get(number, os.strerror(number))) from None
    except UnicodeError:
        raise _cannot(host, port, "it is not an address") from None
    return listener


def _cannot(host: str, port: int, reason: str) -> SettingsError:
    return SettingsError(
        f"the status page cannot be served at {host}:{port}: {reason}",
        hint="`--http HOST:PORT` serves it elsewhere (port 0: any free one), `--no-http` not at all.",
    )


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    host = _ANYWHERE.get(host, host)
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


async def _close(state: ServerState) -> None:
    """Give answers under way their grace, then cut what is left."""
    for connection in list(state.connections):
        connection.shutdown()
    await _settled(state)
    for connection in list(state.connections):
        connection.transport.abort()
    for task in list(state.tasks):
        task.cancel()
    await _settled(state)


async def _settled(state: ServerState) -> None:
    # One turn of the loop lets closed transports go, also when nobody is being answered.
    await asyncio.sleep(0)
    if state.tasks:
        await asyncio.wait(state.tasks, timeout=_GRACE_S)
