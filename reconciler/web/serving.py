"""A listening port around an application, on the running loop: it takes no signals and logs nothing.

uvicorn's server is started and shut down here: its own `serve` would take the process's signals.
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

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from reconciler.core.errors import SettingsError

_GRACE_S = 1  # that answers under way get when the port closes
_SILENT_S = 10.0  # within which a connection must have asked for something, again and again
_MOST_CONNECTIONS = 200  # more would take the files that the work itself needs to open
_AT_ONCE = 100  # connections that are accepted before the first of them is looked at
_HIGHEST_PORT = 65_535
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - recognised, not bound to
_CLOSED_HINT = (
    "Set RECONCILER_PAGE_TOKEN in the environment or in `.env` (`openssl rand -hex 24` makes one), or serve the page "
    "on 127.0.0.1."
)
_REASONS = {
    errno.EADDRINUSE: "something is already listening there",
    errno.EADDRNOTAVAIL: "it is not an address of this machine",
    errno.EACCES: "this user may not listen there",
}


class _Connection(H11Protocol):
    """HTTP/1.1 with a limit on connections; a silent one is cut."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin; where there are too many, close the oldest that waits for no answer."""
        super().connection_made(transport)
        self._began = self.loop.time()
        self._listen()
        others = (one for one in self.connections if isinstance(one, _Connection))
        there = [one for one in others if not one.transport.is_closing()]
        if len(there) > _MOST_CONNECTIONS:
            idle = (one for one in there if not one._is_answering)
            min(idle, key=lambda one: one._began, default=self).transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._silence.cancel()
        super().connection_lost(exc)

    @property
    def _is_answering(self) -> bool:
        """Whether a whole request is here and its answer is not: a body that trickles in does not count."""
        cycle: RequestResponseCycle | None = self.cycle  # None before the first request
        return cycle is not None and not (cycle.response_complete or cycle.more_body)

    def _listen(self) -> None:
        self._last: RequestResponseCycle | None = self.cycle
        self._silence = self.loop.call_later(_SILENT_S, self._hang_up_if_silent)

    def _hang_up_if_silent(self) -> None:
        """Close a connection without a new request, however many bytes trickled in."""
        if self.cycle is self._last and not self._is_answering:
            self.transport.abort()
        else:
            self._listen()


@asynccontextmanager
async def serving(
    app: ASGIApp, host: str, port: int, *, is_guarded: bool = False
) -> AsyncIterator[str]:
    """Serve until the block ends, which takes at most a second; yields the URL for this machine's browser.

    `port` 0 lets the system choose. Raises SettingsError: the port is taken, the host is no address of this machine, or
    it is not loopback and the application is not `is_guarded` by a token.
    """
    listener = await _listener(host, port, is_guarded=is_guarded)
    name, here = listener.getsockname()[:2]
    name = _ANYWHERE.get(name, name)
    for log in ("uvicorn.error", "uvicorn.access"):  # a line for each junk request
        logging.getLogger(log).disabled = True
    config = uvicorn.Config(
        app,
        http=_Connection,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        backlog=_AT_ONCE,
        timeout_graceful_shutdown=_GRACE_S,
    )
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup(sockets=[listener])
    try:
        yield f"http://[{name}]:{here}/" if ":" in name else f"http://{name}:{here}/"
    finally:
        await server.shutdown(sockets=[listener])
        for connection in list(server.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)  # lets the connections close


async def _listener(host: str, port: int, *, is_guarded: bool) -> socket.socket:
    if not 0 <= port <= _HIGHEST_PORT:  # the system would listen at another one, silently
        raise _cannot(host, port, f"ports go up to {_HIGHEST_PORT}")
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
        )
        family, kind, protocol, _, address = found[0]
        here = ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback
        if not (here or is_guarded):
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
