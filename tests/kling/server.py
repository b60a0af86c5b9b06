"""A raw HTTP server on loopback whose every byte a test decides: it loses, cuts, delays and garbles answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Asked:
    """One request as it arrived."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


Answer = Callable[[Asked, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Server:
    """Answers each request by `answer`, and remembers them all."""

    answer: Answer
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while asked := await _read(reader):
                self.asked.append(asked)
                await self.answer(asked, writer)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[Server]:
    server = Server(answer)
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        listener.close()


def http(status: int, body: bytes = b"", **headers: str) -> bytes:
    """Return a whole answer; header names are written with underscores."""
    lines = [f"HTTP/1.1 {status} Said"]
    names = {name.replace("_", "-").lower(): value for name, value in headers.items()}
    names.setdefault("content-length", str(len(body)))
    lines += [f"{name}: {value}" for name, value in names.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def enveloped(status: int, code: int, data: object = None, message: str = "said") -> bytes:
    """Return an answer in the provider's envelope."""
    envelope = {"code": code, "message": message, "request_id": "req-1", "data": data}
    return http(status, json.dumps(envelope).encode(), content_type="application/json")


def always(answer: bytes) -> Answer:
    """Give this answer to everything."""

    async def say(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)

    return say


def in_turn(*answers: bytes) -> Answer:
    """Give each answer once and close the connection with the last one, as with every request after it."""
    rest = list(answers)

    async def say(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(rest.pop(0) if rest else b"")
        if not rest:
            writer.close()

    return say


async def _read(reader: asyncio.StreamReader) -> Asked | None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = head[0].split(" ")
    pairs = (line.split(": ", 1) for line in head[1:] if line)
    headers = {name.lower(): value for name, value in pairs}
    if "transfer-encoding" in headers:
        raise ConnectionError("the tests announce lengths")
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Asked(method, target, headers, body)
