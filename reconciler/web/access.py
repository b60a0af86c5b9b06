"""Who may read the pages where a token is asked for: by `Authorization: Bearer`, or by a cookie that a form sets.

The token itself is never in an address, nor in the cookie: what the cookie holds is computed from it, and ends with it.
"""

from __future__ import annotations

import hmac
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response

from reconciler.web.bodies import read_body
from reconciler.web.pages import login_page

_MOST_BYTES = 4096  # of a form


class Access:
    """A token, and who has shown it."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()
        # Cookies are shared by all ports of a host: each daemon looks for its own.
        self._cookie = f"reconciler-{self._derived(b'name')[:8]}"
        self._pass = self._derived(b"pass")

    def allows(self, headers: Headers) -> bool:
        """Whether a request may read the pages."""
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self._is_token(given.strip()):
            return True
        return any(self._has_pass(line) for line in headers.getlist("cookie"))

    async def log_in(self, request: Request) -> Response:
        """Answer the form: with the cookie and the page, or with the form again."""
        body = await read_body(request, _MOST_BYTES)
        if isinstance(body, Response):
            return body
        given = parse_qs(body.decode("utf-8", "replace")).get("token", [""])
        if not self._is_token(given[0].strip()):
            return HTMLResponse(login_page("That is not the token of this page."), 401)
        answer = RedirectResponse("/", 303)
        answer.set_cookie(self._cookie, self._pass, httponly=True, samesite="strict")
        return answer

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode("utf-8", "replace"), self._token)

    def _has_pass(self, line: str) -> bool:
        try:
            found = SimpleCookie(line).get(self._cookie)
        except CookieError:
            return False
        return found is not None and hmac.compare_digest(
            found.value.encode("utf-8", "replace"), self._pass.encode()
        )

    def _derived(self, purpose: bytes) -> str:
        return hmac.digest(self._token, b"reconciler page " + purpose, "sha256").hex()


def refused(headers: Headers) -> Response:
    """Return the answer to who has not shown the token: the form for a browser, a line for a program."""
    asks = {"www-authenticate": 'Bearer realm="reconciler"'}
    if "text/html" in headers.get("accept", ""):
        return HTMLResponse(login_page(""), 401)
    return PlainTextResponse("the token of this page is missing or wrong\n", 401, asks)
