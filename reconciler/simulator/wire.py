"""Between the sockets and the routes: the `Date` header, the counting of requests, and faults as they happen."""

from __future__ import annotations

import json
from email.utils import formatdate

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reconciler.simulator.connection import gone, gone_within, hang_up
from reconciler.simulator.delivery import Answer, Delivery, disturbed, invented
from reconciler.simulator.faults import REPLACING, Effect
from reconciler.simulator.plans import ABOUT_TASKS
from reconciler.simulator.provider import Provider

TASKS = "/v1/videos/motion-control"
COSTS = "/account/costs"
MEDIA = "/simulator/media/"
RESULTS = "/results/"
DRIP_S = 0.25
"""Real seconds between two drops of a slow answer, unless a byte takes longer."""
FAIL = "simulator.fail"
"""The key in the scope under which a create finds the reason for which its task shall fail."""


class Wire:
    """An application whose answers the provider's fault plan may disturb."""

    def __init__(self, app: ASGIApp, provider: Provider) -> None:
        self._app = app
        self._provider = provider

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        endpoint = endpoint_of(scope["method"], scope["path"])
        send = self._dated(send)
        if not endpoint:
            await self._app(scope, receive, send)
            return
        body = b""
        if endpoint == "create":
            body = await _whole_body(receive)
            receive = _replayed(body, receive)
        self._provider.requests[_counter(endpoint, scope["method"])] += 1
        effect = self._fault(endpoint, scope["path"], body)
        if effect is None:
            await self._app(scope, receive, send)
        else:
            await self._disturb(effect, endpoint, scope, receive, send)

    def _fault(self, endpoint: str, path: str, body: bytes) -> Effect | None:
        if not self._provider.plan.rules:
            return None
        name = _external_id_in(body) if endpoint == "create" else _name_in(endpoint, path)
        state = self._provider.state_of(name) if endpoint in ABOUT_TASKS else ""
        return self._provider.fault_on(endpoint, self._external_id(endpoint, name), state)

    def _external_id(self, endpoint: str, name: str) -> str:
        if endpoint == "create":
            return name
        known = self._provider.external_id_of(name) if name else ""
        return known or (name if endpoint == "query" else "")

    async def _disturb(
        self, effect: Effect, endpoint: str, scope: Scope, receive: Receive, send: Send
    ) -> None:
        answer = await self._act(effect, scope, receive) if effect.acted else None
        if effect.delay_s and await gone_within(receive, effect.delay_s):
            return
        if effect.action == "drop":
            await hang_up(scope, receive, flush=False)
            return
        if answer is None or effect.action in REPLACING:
            address = self._provider.results_url + _target(scope)
            answer = invented(
                effect,
                endpoint=endpoint,
                address=address,
                request_id=self._provider.new_request_id(),
            )
        await _deliver(disturbed(effect, answer), scope, receive, send)

    async def _act(self, effect: Effect, scope: Scope, receive: Receive) -> Answer:
        if effect.action == "fail":
            scope = {**scope, FAIL: str(effect.value)}
        if effect.action == "ignore_range":
            headers = [header for header in scope["headers"] if header[0] != b"range"]
            scope = {**scope, "headers": headers}
        return await _captured(self._app, scope, receive)

    def _dated(self, send: Send) -> Send:
        async def dated(message: Message) -> None:
            if message["type"] == "http.response.start":
                date = formatdate(self._provider.real_now(), usegmt=True)
                message = {**message, "headers": [*message["headers"], (b"date", date.encode())]}
            await send(message)

        return dated


def endpoint_of(method: str, path: str) -> str:
    """Return which endpoint of a fault plan a request goes to; empty for none."""
    if path == TASKS:
        return {"POST": "create", "GET": "list"}.get(method, "")
    if path.startswith(f"{TASKS}/"):
        return "query" if method == "GET" else ""
    if path == COSTS:
        return "costs" if method == "GET" else ""
    if path.startswith(MEDIA):
        return "upload" if method in {"PUT", "HEAD"} else ""
    return "result" if path.startswith(RESULTS) else ""


def _counter(endpoint: str, method: str) -> str:
    if method == "HEAD":
        return f"{endpoint}_head"
    return "create_attempts" if endpoint == "create" else endpoint


def _target(scope: Scope) -> str:
    query = scope["query_string"].decode()
    return f"{scope['path']}?{query}" if query else str(scope["path"])


def _name_in(endpoint: str, path: str) -> str:
    """Return the id by which a request names its task; empty for one that is about none."""
    name = path.rpartition("/")[2]
    return {"query": name, "result": name.partition(".")[0]}.get(endpoint, "")


def _external_id_in(body: bytes) -> str:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    name = value.get("external_task_id") if isinstance(value, dict) else None
    return name if isinstance(name, str) else ""


async def _whole_body(receive: Receive) -> bytes:
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives the body once more, and after it whatever the connection says."""
    waiting = [body]

    async def replay() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return replay


async def _captured(app: ASGIApp, scope: Scope, receive: Receive) -> Answer:
    messages: list[Message] = []

    async def keep(message: Message) -> None:
        messages.append(message)

    await app(scope, receive, keep)
    start, *rest = messages
    body = b"".join(message.get("body", b"") for message in rest)
    return Answer(start["status"], tuple(start["headers"]), body)


async def _deliver(delivery: Delivery, scope: Scope, receive: Receive, send: Send) -> None:
    answer = delivery.answer
    await send(
        {"type": "http.response.start", "status": answer.status, "headers": list(answer.headers)}
    )
    complete = delivery.ending == "complete"
    body = answer.body[: delivery.sent]
    while delivery.rate and len(body) > (size := max(1, round(delivery.rate * DRIP_S))):
        await send({"type": "http.response.body", "body": body[:size], "more_body": True})
        body = body[size:]
        if await gone_within(receive, size / delivery.rate):
            return
    await send({"type": "http.response.body", "body": body, "more_body": not complete})
    if delivery.ending == "close":
        await hang_up(scope, receive, flush=True)
    elif delivery.ending == "silence":
        await gone(receive)
