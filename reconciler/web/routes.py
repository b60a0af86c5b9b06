"""The routes, and the guard in front of them: which hosts are answered, who may read, and what a browser may do.

GET only, but for `/callbacks` and the form that takes a token. A page elsewhere cannot read these pages: a name that
is pointed at this machine (DNS rebinding) is refused by its Host header, and no answer allows another origin. The
token itself is never in an address, nor in the cookie: what the cookie holds is computed from it, and ends with it.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection, Request
from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
)
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reconciler.core.errors import ReconcilerError, told
from reconciler.web.callbacks import Hint, read_body, receive
from reconciler.web.pages import StatusSource, page, recent, status_page

_MOST_BYTES = 4096  # of a form


class PageToken:
    """The token of the pages: checks headers and cookies, and sets the cookie."""

    def __init__(self, token: str) -> None:
        self._token = token
        # Cookies are shared by all ports of a host: each daemon looks for its own.
        self._cookie = f"reconciler-{self._derived(b'name')[:8]}"
        self._pass = self._derived(b"pass")

    def allows(self, asked: HTTPConnection) -> bool:
        """Whether a request may read the pages."""
        scheme, _, given = asked.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and _are_same(given.strip(), self._token):
            return True
        return _are_same(asked.cookies.get(self._cookie, ""), self._pass)

    async def log_in(self, request: Request) -> Response:
        """Answer the form: with the cookie and the page, or with the form again."""
        body = await read_body(request, _MOST_BYTES)
        if isinstance(body, Response):
            return body
        given = parse_qs(body.decode("utf-8", "replace")).get("token", [""])
        if not _are_same(given[0].strip(), self._token):
            return HTMLResponse(page("login", sentence="That is not the token of this page."), 401)
        answer = RedirectResponse("/", 303)
        answer.set_cookie(self._cookie, self._pass, httponly=True, samesite="strict")
        return answer

    def _derived(self, purpose: bytes) -> str:
        message = b"reconciler page " + purpose
        return hmac.digest(self._token.encode(), message, "sha256").hex()


def _are_same(given: str, secret: str) -> bool:
    """Compare in constant time, which tells nothing of the secret."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), secret.encode())


def refused(headers: Headers) -> Response:
    """Return the answer to a request without the token: the form for a browser, a line for a program."""
    asks = {"www-authenticate": 'Bearer realm="reconciler"'}
    if "text/html" in headers.get("accept", ""):
        return HTMLResponse(page("login", sentence=""), 401)
    return PlainTextResponse("the token of this page is missing or wrong\n", 401, asks)


CALLBACKS = "/callbacks"
_LOGIN = "/login"
_OPEN = frozenset({"/livez", "/readyz", "/status.css", _LOGIN})
"""Answered without the token: they tell nothing of specs, reasons or results."""
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_EVERYWHERE = frozenset({"0.0.0.0", "::"})  # noqa: S104 - recognised, not bound to
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^\[\]:]+)(:[0-9]+)?")
_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


def status_app(
    source: StatusSource,
    hint: Hint | None,
    *,
    allowed_hosts: Collection[str],
    signing_key: bytes | None = None,
    page_token: str = "",
) -> ASGIApp:
    """Return the application: `/`, `/status.json`, `/healthz`, `/livez`, `/readyz`, and `/callbacks` for a `hint`.

    `allowed_hosts` are the names and addresses (without port) that are answered beside loopback; `0.0.0.0` and `::` let
    in every address, and no other name. Callbacks must be signed with `signing_key`, where it is given; without the
    `page_token` no page and no reason is shown.
    """

    def shown() -> str:
        return status_page(source.document(), source.health())

    def document() -> str:
        return json.dumps(source.document(), indent=2, ensure_ascii=False, sort_keys=True) + "\n"

    access = PageToken(page_token) if page_token else None
    app = Starlette(
        routes=[
            Route("/livez", _live, methods=["GET"]),
            Route("/readyz", partial(_ready, source, access), methods=["GET"]),
            Route("/", partial(_page, source, recent(shown)), methods=["GET"]),
            Route("/status.json", partial(_json, source, recent(document)), methods=["GET"]),
            Route("/healthz", partial(_health, source), methods=["GET"]),
            Route("/status.css", partial(_static, "status.css", "text/css"), methods=["GET"]),
            Route("/status.js", partial(_static, "status.js", "text/javascript"), methods=["GET"]),
            Route(CALLBACKS, partial(receive, hint, signing_key), methods=["POST"]),
            *([Route(_LOGIN, access.log_in, methods=["POST"])] if access else ()),
        ],
        exception_handlers={Exception: _broken},
    )
    app.router.redirect_slashes = False
    allowed = _LOOPBACK | {host.lower().strip("[]") for host in allowed_hosts}
    return _Guard(app, allowed, access)


@dataclass(frozen=True, slots=True)
class _Guard:
    """Answers only allowed hosts and readers with the token; puts the same strict headers on everything."""

    app: ASGIApp
    allowed: frozenset[str]  # hosts
    access: PageToken | None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it with 421 or 401."""

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        answer = self.app
        # The provider knows this program by a public name; a callback reads nothing.
        if scope["path"] != CALLBACKS:
            headers = Headers(scope=scope)
            if not self._is_meant(headers):
                answer = PlainTextResponse("this name is not served here\n", 421)
            elif (
                self.access
                and scope["path"] not in _OPEN
                and not self.access.allows(HTTPConnection(scope))
            ):
                answer = refused(headers)
        await answer(scope, receive, guarded)

    def _is_meant(self, headers: Headers) -> bool:
        given = headers.getlist("host")
        found = _HOST.fullmatch(given[0].lower()) if len(given) == 1 else None
        if not found:
            return False
        host = found[1].strip("[]")
        if host in self.allowed:
            return True
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return False  # a browser that was led here by a name sends the name
        return bool(self.allowed & _EVERYWHERE)


async def _page(source: StatusSource, shown: Callable[[], str], _: Request) -> Response:
    await source.awake()
    try:
        return HTMLResponse(shown())
    except ReconcilerError as error:
        return HTMLResponse(page("trouble", sentence=told(error)), 503)


async def _json(source: StatusSource, document: Callable[[], str], _: Request) -> Response:
    await source.awake()
    try:
        return Response(document(), media_type="application/json")
    except ReconcilerError as error:
        return JSONResponse({"error": {"message": error.message, "hint": error.hint}}, 503)


async def _health(source: StatusSource, _: Request) -> Response:
    health = dict(source.health())
    return JSONResponse(health, 200 if health["ok"] else 503)


async def _live(_: Request) -> Response:
    return PlainTextResponse("the program answers\n")


async def _ready(source: StatusSource, access: PageToken | None, request: Request) -> Response:
    reasons = list(source.unready())
    status = 503 if reasons else 200
    if access and not access.allows(request):
        reasons = []
    if "application/json" in request.headers.get("accept", ""):
        return JSONResponse({"ready": status == 200, "reasons": reasons}, status)
    lines = ["ready" if status == 200 else "not ready", *reasons]
    return PlainTextResponse("\n".join(lines) + "\n", status)


async def _static(name: str, media_type: str, _: Request) -> Response:
    text = files("reconciler.web").joinpath("static", name).read_text(encoding="utf-8")
    return Response(text, media_type=media_type)


async def _broken(_: Request, __: Exception) -> Response:
    return PlainTextResponse("something went wrong here; `reconciler status` may know more\n", 500)
