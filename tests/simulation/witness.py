"""Who was told what: every request of the product and its answer, as they passed the wire. Judges nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx

from tests.simulation.crash import LIFE
from tests.simulation.loop import running

TASKS = "/v1/videos/motion-control"
Told = Literal["nothing", "unknown", "task", "refused", "page"]
Kind = Literal["create", "query", "list", "result"]


@dataclass
class Sent:
    """One request to the API or for a result. Times are virtual seconds."""

    at: float
    life: str
    kind: Kind
    name: str
    """Of a create and of a query, the id; else the path."""
    epoch: int
    """Which state it was sent for: another one after each loss, and of each machine."""
    told: Told = "nothing"
    """What whoever sent it could read in the answer; `nothing` until then."""
    detail: str = ""
    wall: float = 0.0
    """What the machine's wall clock showed, seconds since the epoch."""
    ended_at: float | None = None


@dataclass
class Witness(httpx.AsyncBaseTransport):
    """Stands right below the product's clients."""

    wire: httpx.AsyncBaseTransport
    wall: Callable[[], float]
    requests: list[Sent] = field(default_factory=list)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Pass one request on, and remember what came of it."""
        life = LIFE.get()
        kind, name = asked_for(request)
        who, state = (life.name, life.state) if life else ("", 0)
        sent = Sent(running().time(), who, kind, name, state, wall=self.wall())
        self.requests.append(sent)
        try:
            response = await self.wire.handle_async_request(request)
            sent.detail = str(response.status_code)
            if kind != "result":
                response = await with_body(response)
                sent.told, sent.detail = _told(kind, name, response)
        except BaseException as error:
            sent.detail = type(error).__name__
            raise
        finally:
            sent.ended_at = running().time()
        return response

    def lines(self, line: Callable[[Sent], str]) -> list[str]:
        """Return every request in words."""
        return [line(sent) for sent in self.requests]


async def with_body(response: httpx.Response) -> httpx.Response:
    """Return an answer once all of it is here."""
    if isinstance(response.stream, Body):
        return response
    assert isinstance(response.stream, httpx.AsyncByteStream)
    try:
        body = b"".join([part async for part in response.stream])
    finally:
        await response.stream.aclose()
    return httpx.Response(response.status_code, headers=response.headers, stream=Body(body))


class Body(httpx.AsyncByteStream):
    """The body of an answer that is here as a whole."""

    def __init__(self, body: bytes) -> None:
        self.body = body

    async def __aiter__(self) -> Any:
        yield self.body


def asked_for(request: httpx.Request) -> tuple[Kind, str]:
    """Return what kind of request it is, and the id or the path that it names."""
    path = request.url.path
    if not path.startswith(TASKS):
        return "result", path
    if request.method == "POST":
        assert isinstance(request.stream, httpx.ByteStream)
        return "create", str(json.loads(request.content)["external_task_id"])
    return ("query", path.removeprefix(f"{TASKS}/")) if path != TASKS else ("list", path)


def _told(kind: str, name: str, response: httpx.Response) -> tuple[Told, str]:
    """Read an answer as the API's documents say it is to be read."""
    assert isinstance(response.stream, Body)
    detail = str(response.status_code)
    try:
        envelope = json.loads(response.stream.body)
        code = envelope["code"]
    except (ValueError, TypeError, KeyError):
        return "nothing", detail
    detail = f"{detail}/{code}"
    if code in {5000, 5001, 5002} or (code == 0 and response.status_code >= 400):
        return "nothing", detail
    if code != 0:
        absent = code in {1201, 1203} and "not found" in str(envelope.get("message"))
        return ("unknown" if kind == "query" and absent else "refused"), detail
    data = envelope.get("data")
    if kind == "list":
        return "page", detail
    if isinstance(data, dict) and data.get("task_id"):
        of = (data.get("task_info") or {}).get("external_task_id")
        if of and name not in {of, data["task_id"]}:
            return "nothing", f"{detail} the task of {of}"
        return "task", f"{detail} {data['task_id']} {data.get('task_status')}"
    return ("unknown" if kind == "query" else "nothing"), detail
