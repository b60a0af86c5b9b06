"""The routes under `/simulator`: what tests and the demo ask and tell the simulator itself. The provider has none."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from reconciler.simulator.faults import FaultPlan
from reconciler.simulator.plans import parse_plan
from reconciler.simulator.provider import Provider

COUNTED = (
    "create",
    "create_attempts",
    "query",
    "list",
    "costs",
    "result",
    "upload",
    "authorization_leaks",
    "callback",
    "callback_unanswered",
    "callback_foreign",
)


def control_routes() -> list[BaseRoute]:
    """Return the routes; they need no token, the port is a loopback one."""
    return [
        Route("/simulator", about, methods=["GET"]),
        Route("/simulator/ledger", ledger, methods=["GET"]),
        Route("/simulator/requests", requests, methods=["GET"]),
        Route("/simulator/clock", clock, methods=["POST"]),
        Route("/simulator/faults", faults, methods=["GET"]),
        Route("/simulator/faults", replace_faults, methods=["POST"]),
        Route("/simulator/faults", forget_faults, methods=["DELETE"]),
        Route("/simulator/media/{name}", has_media, methods=["HEAD"]),
        Route("/simulator/media/{name}", upload, methods=["PUT"]),
    ]


async def about(request: Request) -> Response:
    """Say that this is a simulator, where its other port is, and what time it is there (virtual ms)."""
    provider = _provider(request)
    return JSONResponse(
        {
            "simulator": True,
            "media": "/simulator/media/",
            "results_url": provider.results_url,
            "virtual_now": provider.clock.now(),
            "speed": provider.clock.speed,
        }
    )


async def ledger(request: Request) -> Response:
    """Return what was billed and refunded by now."""
    return JSONResponse(_provider(request).ledger.report())


async def requests(request: Request) -> Response:
    """Return how many requests came, by endpoint, since the start; `create` counts the tasks that were created.

    Callbacks go the other way: those that were answered with success, those that were not, and those whose address
    is on another machine, which is never contacted.
    """
    counted = _provider(request).requests
    return JSONResponse(dict.fromkeys(COUNTED, 0) | counted)


async def clock(request: Request) -> Response:
    """Jump ahead by `advance_s` virtual seconds, or set `speed`."""
    provider = _provider(request)
    try:
        wish = _object(await request.body())
        if "speed" in wish:
            provider.clock.set_speed(wish["speed"])
        provider.clock.advance(wish.get("advance_s", 0))
    except ValueError as error:
        return _refused(error)
    if "advance_s" in wish:  # whatever would have been made meanwhile is made
        await asyncio.to_thread(provider.studio.finish)
    return await about(request)


async def faults(request: Request) -> Response:
    """Return the plan, and how often each rule matched and fired."""
    return JSONResponse(_shown(_provider(request).plan))


async def replace_faults(request: Request) -> Response:
    """Replace the plan; its counts and its time begin anew."""
    try:
        plan = parse_plan(_json(await request.body()))
    except ValueError as error:
        return _refused(error)
    _provider(request).plan = plan
    return JSONResponse(_shown(plan))


async def forget_faults(request: Request) -> Response:
    """Leave no faults."""
    _provider(request).plan = FaultPlan()
    return JSONResponse(_shown(FaultPlan()))


async def has_media(request: Request) -> Response:
    """Tell by the status whether a file is here already: 200 or 404."""
    path = _provider(request).media.path(request.path_params["name"])
    return Response(status_code=404 if path is None else 200)


async def upload(request: Request) -> Response:
    """Keep a file under its digest and say where it can be read; the same file again changes nothing."""
    name = request.path_params["name"]
    media = _provider(request).media
    try:
        await asyncio.to_thread(media.save, name, await request.body())
    except ValueError as error:
        return _refused(error)
    return JSONResponse({"url": media.url(name)})


def _provider(request: Request) -> Provider:
    provider: Provider = request.app.state.provider
    return provider


def _json(data: bytes) -> object:
    """Return the value; raises ValueError for what is no JSON, or nested without end."""
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _object(data: bytes) -> dict[str, float]:
    value = _json(data)
    if not isinstance(value, dict) or value.keys() - {"advance_s", "speed"}:
        raise ValueError("the clock takes advance_s and speed")
    if any(isinstance(part, bool) or not isinstance(part, int | float) for part in value.values()):
        raise ValueError("advance_s and speed are numbers")
    return value


def _shown(plan: FaultPlan) -> dict[str, object]:
    rules = [asdict(rule) for rule in plan.rules]
    for rule in rules:
        when = rule["when"]
        when["calls"] = None if when["calls"] is None else sorted(when["calls"])
        when["state"] = sorted(when["state"])
    return {"rules": rules, "fired": [rule.fired for rule in plan.rules]}


def _refused(error: ValueError) -> Response:
    return JSONResponse({"error": str(error)}, 400)
