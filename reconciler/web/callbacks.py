"""The receiver of the provider's callbacks. Without a webhook secret anybody can send one: a hint, and never a fact.

What comes is bounded, read once and forgotten: nothing is stored, nothing is logged, and every answer is the same
whether an id exists or not.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator

from starlette.endpoints import HTTPEndpoint
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from reconciler.web.bodies import read_body
from reconciler.web.signatures import is_signed

Hint = Callable[[str], None]

_MOST_BYTES = 64 * 1024
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
        body = await read_body(request, _MOST_BYTES)
        if isinstance(body, Response):
            return body
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


def _ids(message: dict[str, object]) -> Iterator[str]:
    """Give what looks like an id of ours or of the provider (API: `task_id`, `task_info.external_task_id`)."""
    info = message.get("task_info")
    external = info.get("external_task_id") if isinstance(info, dict) else None
    for value in (message.get("task_id"), external):
        if isinstance(value, str) and _ID.fullmatch(value):
            yield value
