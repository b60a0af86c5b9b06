"""The receiver of the provider's callbacks. Without a webhook secret anybody can send one: a hint, and never a fact.

What comes is bounded, read once and forgotten: nothing is stored, nothing is logged, and every answer is the same
whether an id exists or not.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable, Iterator

from starlette.endpoints import HTTPEndpoint
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response

from reconciler.web.signatures import is_signed

Hint = Callable[[str], None]

_MOST_BYTES = 64 * 1024
_LONGEST_S = 5.0  # for a whole body
_ID = re.compile(r"[A-Za-z0-9._-]{1,80}")
_CLOSE = {"connection": "close"}  # what was not read must not be taken for the next request


class Callbacks(HTTPEndpoint):
    """`POST /callbacks`."""

    async def post(self, request: Request) -> Response:
        """Answer 204 for whatever parses; 413, 408 and 400 for what is too large, too slow, or no JSON object.

        With a key, 401 for what was not signed with it, or longer than five minutes ago.
        """
        hint: Hint | None = request.app.state.hint
        if hint is None:
            return PlainTextResponse("no callbacks are expected here\n", 404, _CLOSE)
        try:
            async with asyncio.timeout(_LONGEST_S):
                body = await _body(request)
        except TimeoutError:
            return PlainTextResponse("the body took too long\n", 408, _CLOSE)
        except ClientDisconnect:
            return Response(status_code=400)
        if body is None:
            return PlainTextResponse("the body is too large\n", 413, _CLOSE)
        key: bytes | None = request.app.state.signing_key
        if key is not None and not is_signed(key, request.headers, body, time.time()):
            return PlainTextResponse("this was not signed with the webhook secret\n", 401)
        try:
            message = json.loads(body)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict):
            return PlainTextResponse("the body is not a JSON object\n", 400)
        for name in _ids(message):
            hint(name)
        return Response(status_code=204)


async def _body(request: Request) -> bytes | None:
    """Return the body, or None for one that is too large, without reading on."""
    announced = request.headers.get("content-length", "0")
    if not announced.isdecimal() or int(announced[:20]) > _MOST_BYTES:
        return None
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MOST_BYTES:
            return None
    return bytes(body)


def _ids(message: dict[str, object]) -> Iterator[str]:
    """Give what looks like an id of ours or of the provider (API: `task_id`, `task_info.external_task_id`)."""
    info = message.get("task_info")
    external = info.get("external_task_id") if isinstance(info, dict) else None
    for value in (message.get("task_id"), external):
        if isinstance(value, str) and _ID.fullmatch(value):
            yield value
