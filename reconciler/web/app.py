"""The routes, and the guard in front of them: which hosts are answered, and what a browser may do with an answer.

GET only, but for `/callbacks` and the form that takes a token. A page elsewhere cannot read these pages: a name that somebody points at this machine
(DNS rebinding) is refused by its Host header, and no answer allows another origin.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Collection
from functools import partial
from importlib.resources import files

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reconciler.core.errors import ReconcilerError, told
from reconciler.web.access import Access, refused
from reconciler.web.callbacks import Callbacks, Hint
from reconciler.web.pages import status_page, trouble_page
from reconciler.web.source import Recent, StatusSource

CALLBACKS = "/callbacks"
_LOGIN = "/login"
_OPEN = frozenset({"/livez", "/readyz", "/status.css", _LOGIN})
"""What is answered without the token: nothing there tells of specs, reasons or results."""
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_EVERYWHERE = frozenset({"0.0.0.0", "::"})  # noqa: S104 - recognised here, bound to by nobody
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

    `allowed_hosts` are the names and addresses, without a port, under which the pages may be asked for beside those
    of loopback. One that means every address (`0.0.0.0`, `::`) lets in every address, and still no other name.
    With a `signing_key`, callbacks that were not signed with it are refused; with a `page_token`, whoever has not
    shown it sees no page, and is told no reason.
    """
    access = Access(page_token) if page_token else None
    app = Starlette(
        routes=[
            Route("/livez", _live, methods=["GET"]),
            Route("/readyz", partial(_ready, source, access), methods=["GET"]),
            Route("/", partial(_page, Recent(lambda: _rendered(source))), methods=["GET"]),
            Route("/status.json", partial(_json, Recent(lambda: _dumped(source))), methods=["GET"]),
            Route("/healthz", partial(_health, source), methods=["GET"]),
            Route("/status.css", partial(_static, "status.css", "text/css"), methods=["GET"]),
            Route("/status.js", partial(_static, "status.js", "text/javascript"), methods=["GET"]),
            Route(CALLBACKS, Callbacks),
            *([Route(_LOGIN, access.log_in, methods=["POST"])] if access else ()),
        ],
        exception_handlers={Exception: _broken},
    )
    app.router.redirect_slashes = False
    app.state.hint, app.state.signing_key = hint, signing_key
    return Guard(app, allowed_hosts, access)


class Guard:
    """Answers only those hosts that are meant, and who may read; puts the same strict headers on everything."""

    def __init__(self, app: ASGIApp, allowed_hosts: Collection[str], access: Access | None) -> None:
        self._app = app
        self._access = access
        self._allowed = _LOOPBACK | {host.lower().strip("[]") for host in allowed_hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it with 421 or 401."""

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        answer = self._app
        # The provider knows this program by a public name; a callback reads nothing.
        if scope["path"] != CALLBACKS:
            headers = Headers(scope=scope)
            if not self._is_meant(headers):
                answer = PlainTextResponse("this name is not served here\n", 421)
            elif self._access and scope["path"] not in _OPEN and not self._access.allows(headers):
                answer = refused(headers)
        await answer(scope, receive, guarded)

    def _is_meant(self, headers: Headers) -> bool:
        given = headers.getlist("host")
        found = _HOST.fullmatch(given[0].lower()) if len(given) == 1 else None
        if not found:
            return False
        host = found[1].strip("[]")
        return host in self._allowed or (bool(self._allowed & _EVERYWHERE) and _is_address(host))


def _is_address(host: str) -> bool:
    """Whether this is an address: a browser that was led here by a name sends the name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _rendered(source: StatusSource) -> str:
    return status_page(source.document(), source.health())


def _dumped(source: StatusSource) -> str:
    return json.dumps(source.document(), indent=2, ensure_ascii=False, sort_keys=True) + "\n"


async def _page(page: Recent[str], _: Request) -> Response:
    try:
        return HTMLResponse(page.get())
    except ReconcilerError as error:
        return HTMLResponse(trouble_page(told(error)), 503)


async def _json(document: Recent[str], _: Request) -> Response:
    try:
        return Response(document.get(), media_type="application/json")
    except ReconcilerError as error:
        return JSONResponse({"error": {"message": error.message, "hint": error.hint}}, 503)


async def _health(source: StatusSource, _: Request) -> Response:
    health = dict(source.health())
    return JSONResponse(health, 200 if health["ok"] else 503)


async def _live(_: Request) -> Response:
    return PlainTextResponse(
        "the program answers\n"
    )  # who asks is answered only where the loop turns


async def _ready(source: StatusSource, access: Access | None, request: Request) -> Response:
    reasons = list(source.unready())
    status = 503 if reasons else 200
    if access and not access.allows(request.headers):
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
