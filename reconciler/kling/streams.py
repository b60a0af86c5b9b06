"""Connections for httpcore over asyncio's own streams, which decrypt and hand over a quarter of a megabyte at a time.

httpcore's own stand on anyio, where TLS arrives by its records of 16 KiB at most: a download then costs five times the
processor, nearly all of it for handing pieces on. Which addresses may be connected to is not known here.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final

import httpcore

PIECE: Final = 256 * 1024  # bytes that are handed on at once, and half of what is read ahead


class Streams(httpcore.AsyncNetworkBackend):
    """Opens connections; raises httpcore's errors."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to an address; `timeout` is in s."""
        local = None if local_address is None else (local_address, 0)
        async with _told(timeout, httpcore.ConnectTimeout, httpcore.ConnectError):
            opened = await asyncio.open_connection(host, port, limit=PIECE, local_addr=local)
            for option in socket_options or ():
                opened[1].get_extra_info("socket").setsockopt(*option)
        return Stream(*opened)


class Stream(httpcore.AsyncNetworkStream):
    """One connection; raises httpcore's errors."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Return what arrived, nothing at the end; httpcore takes more than it asks for."""
        async with _told(timeout, httpcore.ReadTimeout, httpcore.ReadError):
            return await self._reader.read(max(max_bytes, PIECE))

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send bytes."""
        async with _told(timeout, httpcore.WriteTimeout, httpcore.WriteError):
            self._writer.write(buffer)
            await self._writer.drain()

    async def aclose(self) -> None:
        """Close the connection, without waiting for the other end to agree."""
        self._writer.close()
        await asyncio.sleep(0)
        self._writer.transport.abort()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Encrypt the connection from now on, where the certificate is that of `server_hostname`."""
        try:
            async with _told(timeout, httpcore.ConnectTimeout, httpcore.ConnectError):
                await self._writer.start_tls(ssl_context, server_hostname=server_hostname)
        except BaseException:
            await self.aclose()
            raise
        return self

    def get_extra_info(self, info: str) -> Any:
        """Return what httpcore asks for: whether an idle connection was ended, the TLS of this one."""
        if info == "is_readable":
            return self._reader.at_eof() or self._reader.exception() is not None
        return self._writer.get_extra_info(info)


@asynccontextmanager
async def _told(
    seconds: float | None, late: type[Exception], broken: type[Exception]
) -> AsyncIterator[None]:
    """Bound what is awaited, and raise httpcore's errors in place of the system's."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as failure:
        raise late(str(failure)) from failure
    except OSError as failure:  # ssl.SSLError is one
        raise broken(str(failure)) from failure
