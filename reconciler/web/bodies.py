"""Reading what a request brings, within bounds of bytes and of time. What it says is for others."""

from __future__ import annotations

import asyncio

from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response

_LONGEST_S = 5.0  # for a whole body
_CLOSE = {"connection": "close"}  # what was not read must not be taken for the next request


async def read_body(request: Request, most: int) -> bytes | Response:
    """Return the body, or the answer to one that has more than `most` bytes (413), is too slow (408), or breaks off."""
    try:
        async with asyncio.timeout(_LONGEST_S):
            body = await _read(request, most)
    except TimeoutError:
        return PlainTextResponse("the body took too long\n", 408, _CLOSE)
    except ClientDisconnect:
        return Response(status_code=400)
    return PlainTextResponse("the body is too large\n", 413, _CLOSE) if body is None else body


async def _read(request: Request, most: int) -> bytes | None:
    """Return the body, or None for one that is too large, without reading on."""
    announced = request.headers.get("content-length", "0")
    if not announced.isdecimal() or int(announced[:20]) > most:
        return None
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            return None
    return bytes(body)
