"""The routes of the other port: finished films behind signed addresses, and hosted media. No token belongs here."""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from pathlib import Path

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from reconciler.simulator.delivery import STORAGE_PAGE
from reconciler.simulator.provider import Provider
from reconciler.simulator.wire import Wire

FILM = re.compile(r"(?P<task_id>\d{18})(?P<watermark>\.watermark)?\.mp4")


def results_app(provider: Provider) -> ASGIApp:
    """Return the ASGI application of the port for results and media."""
    app = Starlette(
        routes=[
            Route("/results/{name}", film, methods=["GET", "HEAD"]),
            Route("/media/{name}", medium, methods=["GET", "HEAD"]),
        ]
    )
    app.state.provider = provider
    return _NoTokens(Wire(app, provider), provider)


class _NoTokens:
    """Refuses and counts every request that carries a token: the provider's storage is another host (documented)."""

    def __init__(self, app: ASGIApp, provider: Provider) -> None:
        self._app = app
        self._provider = provider

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and "authorization" in Headers(scope=scope):
            self._provider.requests["authorization_leaks"] += 1
            await _refused(400, "UnexpectedAuthorization")(scope, receive, send)
        else:
            await self._app(scope, receive, send)


async def film(request: Request) -> Response:
    """Return a film, whole or in part; 403 for an address that is not signed or has expired, 404 once cleared."""
    provider: Provider = request.app.state.provider
    name = request.path_params["name"]
    expires = request.query_params.get("expires", "")
    signature = request.query_params.get("signature", "")
    if not provider.signer.permits(f"/results/{name}", expires, signature, provider.clock.now()):
        return _refused(403, "AccessDenied")
    parts = FILM.fullmatch(name)
    task = provider.task_of_result(parts["task_id"]) if parts else None
    if parts is None or task is None:
        return _refused(404, "NoSuchKey")
    return _file(provider.studio.path(task, watermark=bool(parts["watermark"])), "video/mp4")


async def medium(request: Request) -> Response:
    """Return a hosted file."""
    provider: Provider = request.app.state.provider
    path = provider.media.path(request.path_params["name"])
    return _refused(404, "NoSuchKey") if path is None else _file(path, None)


def _file(path: Path, media_type: str | None) -> Response:
    return FileResponse(path, media_type=media_type, headers={"etag": f'"{_digest(path)}"'})


@lru_cache(maxsize=1024)
def _digest(path: Path) -> str:
    """Return the MD5 of a file that never changes, the strong ETag that object stores give."""
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def _refused(status: int, code: str) -> Response:
    return Response(STORAGE_PAGE.format(code), status, media_type="application/xml")
