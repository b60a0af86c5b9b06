"""The routes of the API's port: reads requests, asks the provider, writes envelopes. Decides nothing itself."""

from __future__ import annotations

import json
from collections.abc import Mapping

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from reconciler.simulator.checks import wrong
from reconciler.simulator.control import control_routes
from reconciler.simulator.delivery import envelope
from reconciler.simulator.errors import ApiError
from reconciler.simulator.provider import Provider
from reconciler.simulator.wire import COSTS, FAIL, TASKS, Wire

LATEST_MS = 2**53


def api_app(provider: Provider) -> ASGIApp:
    """Return the ASGI application of the API's port: the documented endpoints and the control under `/simulator`."""
    app = Starlette(
        routes=[
            Route(TASKS, create, methods=["POST"]),
            Route(TASKS, list_tasks, methods=["GET"]),
            Route(f"{TASKS}/{{name}}", query, methods=["GET"]),
            Route(COSTS, costs, methods=["GET"]),
            *control_routes(),
        ],
        exception_handlers={ApiError: _refused, HTTPException: _no_route, Exception: _broken},
    )
    app.router.redirect_slashes = False
    app.state.provider = provider
    return Wire(app, provider)


async def create(request: Request) -> Response:
    """`POST /v1/videos/motion-control` (documented)."""
    provider = _authenticated(request)
    body = _object(request.headers.get("content-type"), await request.body())
    return _success(request, provider.create(body, failure=request.scope.get(FAIL, "")))


async def query(request: Request) -> Response:
    """`GET /v1/videos/motion-control/{task_id or external_task_id}` (documented)."""
    return _success(request, _authenticated(request).query(request.path_params["name"]))


async def list_tasks(request: Request) -> Response:
    """`GET /v1/videos/motion-control?pageNum&pageSize`: 1 to 1000 and 1 to 500, by default 1 and 30 (documented)."""
    provider = _authenticated(request)
    page = _whole(request, "pageNum", 1, 1000, default="1")
    size = _whole(request, "pageSize", 1, 500, default="30")
    return _success(request, provider.list_page(page, size))


async def costs(request: Request) -> Response:
    """`GET /account/costs?start_time&end_time[&resource_pack_name]`, times in ms (documented)."""
    account = _authenticated(request).account
    account.limit_questions()
    if "start_time" not in request.query_params:
        raise ApiError(1200, "Missing Request Parameter")  # observed
    start = _whole(request, "start_time", 0, LATEST_MS)
    end = _whole(request, "end_time", start, LATEST_MS)
    return _success(
        request, account.costs(start, end, request.query_params.get("resource_pack_name", ""))
    )


def _authenticated(request: Request) -> Provider:
    provider: Provider = request.app.state.provider
    provider.authenticate(request.headers.get("authorization"))
    return provider


def _object(content_type: str | None, data: bytes) -> Mapping[str, object]:
    if content_type and content_type.partition(";")[0].strip().lower() != "application/json":
        raise ApiError(1200, "Content-Type: must be application/json")
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        raise ApiError(1200, "body: must be JSON") from None
    if not isinstance(value, dict):
        raise wrong("body", "must be a JSON object")
    return value


def _whole(request: Request, name: str, low: int, high: int, default: str = "") -> int:
    text = request.query_params.get(name, default)
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 20 else -1
    if not low <= number <= high:
        raise wrong(name, f"must be a whole number from {low} to {high}")
    return number


def _success(request: Request, data: object) -> Response:
    return JSONResponse(envelope(_request_id(request), 0, "SUCCEED", data))


def _request_id(request: Request) -> str:
    provider: Provider = request.app.state.provider
    return provider.new_request_id()


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return JSONResponse(envelope(_request_id(request), error.code, error.message), error.status)


async def _no_route(request: Request, _: Exception) -> Response:
    return await _refused(
        request, ApiError(1202, f"no such method: {request.method} {request.url.path}")
    )


async def _broken(request: Request, _: Exception) -> Response:
    return await _refused(request, ApiError(5000))
