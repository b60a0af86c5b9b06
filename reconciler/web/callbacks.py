"""`/callbacks`: receives the provider's callbacks. Unless signed they can be forged, so they are only hints.

Bodies are bounded and neither stored nor logged; every answer is the same whether an id exists or not.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import re
import time
from collections.abc import Callable, Mapping

from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response

Hint = Callable[[str], None]

TOLERATED_S = 300  # that a callback's time may be off, to either side (API: documented)
_LONGEST_S = 5.0  # for a whole body
_MOST_BYTES = 64 * 1024
_CLOSE = {"connection": "close"}  # unread bytes must not become the next request
_PREFIX = "whsec_"
_TIME = re.compile(r"[0-9]{1,12}")
_ID = re.compile(r"[A-Za-z0-9._-]{1,80}")


async def read_body(request: Request, most: int) -> bytes | Response:
    """Return the body, or the answer where it is over `most` bytes (413), too slow (408), or breaks off (400)."""
    too_large = PlainTextResponse("the body is too large\n", 413, _CLOSE)
    announced, body = request.headers.get("content-length", "0"), bytearray()
    if not announced.isdecimal() or int(announced[:20]) > most:
        return too_large
    try:
        async with asyncio.timeout(_LONGEST_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > most:
                    return too_large
    except TimeoutError:
        return PlainTextResponse("the body took too long\n", 408, _CLOSE)
    except ClientDisconnect:
        return Response(status_code=400)
    return bytes(body)


def signing_key(secret: str) -> bytes:
    """Return the key in a webhook secret, such as `whsec_dGVzd…`; raises ValueError that does not repeat it."""
    encoded = secret.strip().removeprefix(_PREFIX)
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except ValueError:
        key = b""
    if not key:
        raise ValueError(
            "it must be the webhook secret of the provider's console: `whsec_` and Base64"
        )
    return key


def is_signed(key: bytes, headers: Mapping[str, str], body: bytes, now: float) -> bool:
    """Whether the body was signed with the key within the tolerated time of `now` (s); one good signature is enough."""
    name, time = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not name or not _TIME.fullmatch(time) or abs(now - int(time)) > TOLERATED_S:
        return False
    digest = hmac.digest(key, f"{name}.{time}.".encode() + body, "sha256")
    wanted = b"v1," + base64.b64encode(digest)
    given = headers.get("webhook-signature", "").split()
    return any(hmac.compare_digest(one.encode(), wanted) for one in given)


async def receive(hint: Hint | None, key: bytes | None, request: Request) -> Response:
    """Answer 204, or 413, 408, 400 (no JSON object) and, with a key, 401: not signed, or not within five minutes."""
    if hint is None:
        return PlainTextResponse("no callbacks are expected here\n", 404, _CLOSE)
    body = await read_body(request, _MOST_BYTES)
    if isinstance(body, Response):
        return body
    if key is not None and not is_signed(key, request.headers, body, time.time()):
        return PlainTextResponse("this was not signed with the webhook secret\n", 401)
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict):
        return PlainTextResponse("the body is not a JSON object\n", 400)
    info = message.get("task_info")
    external = info.get("external_task_id") if isinstance(info, dict) else None
    for name in (message.get("task_id"), external):
        if isinstance(name, str) and _ID.fullmatch(name):
            hint(name)
    return Response(status_code=204)
