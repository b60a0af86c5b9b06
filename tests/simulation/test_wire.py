"""The virtual wire is a network: what goes wrong on sockets goes wrong on it with the same errors."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from reconciler.kling.errors import NotSent, OutcomeUnknown, ProviderError, ResultInterrupted
from reconciler.simulator.config import API_KEY
from reconciler.simulator.connection import TRANSPORT
from tests.simulation.loop import run, running
from tests.simulation.wire import Outage, Wire
from tests.simulation.world import API, START, account, client_of, downloader_of
from tests.simulator.caller import TASKS, order
from tests.support.simulator import simulator

Seen = tuple[str, object]

FAULTS: list[tuple[str, dict[str, Any]]] = [
    *(("create", effect) for effect in (
        {"drop": "before"}, {"drop": "after"}, {"cut": 0}, {"cut": 20}, {"stall": 0}, {"stall": 20}, {"drip": 2000}, {"cut": 0.5},
        {"status": 500}, {"status": 502, "acted": True}, {"refuse": 1303}, {"error_in_200": 5000}, {"garbage": True},
        {"redirect": "/elsewhere"}, {"truncate": 20}, {"wrong_length": 7}, {"fail": "it stumbled"}, {"delay_s": 0.8},
        {"delay_s": 0.1},
    )),
    *(("result", effect) for effect in (
        {"drop": "before"}, {"cut": 0}, {"cut": 300}, {"stall": 300}, {"drip": 50_000}, {"truncate": 300}, {"cut": 0.5}, {"wrong_length": 7},
        {"wrong_bytes": True}, {"ignore_range": True}, {"status": 403}, {"status": 500}, {"delay_s": 0.8},
    )),
    ("list", {"drop": "after"}),
    ("query", {"cut": 10}),
]  # fmt: skip


async def seen(answer: Awaitable[httpx.Response]) -> Seen:
    """Return the status and what tells answers apart, or the class of the error."""
    try:
        got = await answer
    except httpx.TransportError as error:
        return type(error).__name__, ""
    if got.headers.get("content-type") != "application/json":
        return str(got.status_code), got.content
    try:
        return str(got.status_code), got.json()["code"]
    except ValueError:
        return str(got.status_code), "no JSON"


async def story(http: httpx.AsyncClient, api: str) -> list[Seen]:
    """Create, list, wait, and fetch a film whole, in part and only its head; returns how each went."""
    went = [
        await seen(http.post(api + TASKS, json=order("one"))),
        await seen(http.get(api + TASKS)),
    ]
    went.append(await seen(http.get(f"{api}{TASKS}/one")))
    await http.post(f"{api}/simulator/clock", json={"advance_s": 200})
    videos = (await http.get(f"{api}{TASKS}/one")).json().get("data", {}).get("task_result", {})
    for video in videos.get("videos", []):
        went.append(await seen(http.get(video["url"])))
        went.append(await seen(http.get(video["url"], headers={"range": "bytes=100-"})))
        went.append(await seen(http.head(video["url"])))
    return went


def client(transport: httpx.AsyncBaseTransport | None, patience: float) -> httpx.AsyncClient:
    """Return a client that waits so many seconds for an answer."""
    return httpx.AsyncClient(
        transport=transport,
        headers={"accept": "*/*"},
        auth=_signed,
        timeout=httpx.Timeout(10, read=patience),
        trust_env=False,
        verify=False,
    )


def _signed(request: httpx.Request) -> httpx.Request:
    if request.url.path.startswith("/v1"):
        request.headers["authorization"] = f"Bearer {API_KEY}"
    return request


async def on_sockets(api: str, patience: float) -> list[Seen]:
    """Tell the story over the real network of this machine."""
    async with client(None, patience) as http:
        return await story(http, api)


async def on_the_wire(folder: Path, rule: dict[str, Any], patience: float) -> list[Seen]:
    """Tell it over the virtual one."""
    wire = Wire(latency=(0.001, 0.01))
    async with account(folder, wire, faults=(rule,)), client(wire, patience) as http:
        went = await story(http, API)
    assert wire.crashes == []
    return went


@pytest.mark.parametrize(("endpoint", "effect"), FAULTS, ids=str)
def test_every_fault_is_what_it_is_on_sockets(
    tmp_path: Path, endpoint: str, effect: dict[str, Any]
) -> None:
    """The same calls get the same statuses, bytes and classes of error, whichever network they go through."""
    when = {} if endpoint == "result" else {"calls": [1]}
    patience = 0.4 if "stall" in effect or effect.get("delay_s") == 0.8 else 10.0
    rule = {"endpoint": endpoint, "when": when, "effect": effect}
    with simulator(seed="account", render="stamp", speed=1, faults=(rule,)) as sim:
        real = asyncio.run(on_sockets(sim.base_url, patience))
    assert len(real) >= 3
    assert run(on_the_wire(tmp_path, rule, patience), start=START) == real


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    """Say which path was asked for."""
    await PlainTextResponse(Request(scope).url.path)(scope, receive, send)


def asking(app: ASGIApp = hello, **options: Any) -> tuple[Wire, httpx.AsyncClient]:
    """Return a wire with one application, and a client that waits 3 s for a connection and 10 s for an answer."""
    wire = Wire(**options)
    wire.serve(API, app)
    limits = httpx.Timeout(10, connect=3)
    return wire, httpx.AsyncClient(transport=wire, base_url=API, timeout=limits)


def later(seconds: float, act: Callable[[], object]) -> None:
    """Do something in so many virtual seconds."""
    running().call_later(seconds, act)


def outage(wire: Wire, how: Outage, begins: float, ends: float) -> None:
    """Plan an outage, in seconds from now."""
    later(begins, lambda: setattr(wire, "down", how))
    later(ends, lambda: setattr(wire, "down", ""))


@pytest.mark.parametrize(
    ("reason", "how", "begins", "ends", "result", "at"),
    [
        ("nobody listens", "refused", 0.0, 60.0, "ConnectError", 1),
        ("no packet comes through", "timeout", 0.0, 60.0, "ConnectTimeout", 3),
        ("it is over while one waits for a connection", "timeout", 0.0, 1.5, "200", 4),
        ("the request is reset on its way", "refused", 1.5, 60.0, "ReadError", 2),
        ("the request is lost on its way", "timeout", 1.5, 60.0, "ReadTimeout", 11),
        ("the answer is reset on its way", "refused", 2.5, 60.0, "ReadError", 3),
        ("the answer is lost on its way", "timeout", 2.5, 60.0, "ReadTimeout", 11),
        ("the answer is only late", "timeout", 2.5, 5.5, "200", 6),
    ],
)
def test_an_outage_is_what_a_network_makes_of_it(
    reason: str, how: Outage, begins: float, ends: float, result: str, at: float
) -> None:
    """One way takes a second here: connected after 1 s, asked after 2 s, answered after 3 s."""

    async def talk() -> tuple[str, float]:
        wire, http = asking(latency=(1, 1))
        outage(wire, how, begins, ends)
        await asyncio.sleep(0)
        async with http:
            status, _ = await seen(http.get("/"))
        return status, running().time()

    status, ended = run(talk(), start=START)
    assert status == result, reason
    assert ended == pytest.approx(at, abs=0.1), reason


def test_what_was_sent_may_arrive_after_its_sender_gave_up() -> None:
    """A request that an outage held up reaches the application once it is over, answer or no answer."""
    came: list[float] = []

    async def note(scope: Scope, receive: Receive, send: Send) -> None:
        came.append(running().time())
        await hello(scope, receive, send)

    async def talk() -> str:
        wire, http = asking(note, latency=(1, 1))
        outage(wire, "timeout", 1.5, 30)
        async with http:
            status, _ = await seen(http.get("/"))
        assert came == []
        await asyncio.sleep(60)
        return status

    assert run(talk(), start=START) == "ReadTimeout"
    assert came == [pytest.approx(30, abs=1.1)]


def test_nobody_listens_where_nothing_is_served() -> None:
    """Another port, and one that was left, refuse connections."""

    async def talk() -> list[Seen]:
        wire, http = asking()
        async with http:
            went = [await seen(http.get("/")), await seen(http.get("http://127.0.0.1:1/"))]
            wire.leave(API)
            return [*went, await seen(http.get("/"))]

    assert run(talk(), start=START) == [("200", b"/"), ("ConnectError", ""), ("ConnectError", "")]


def test_an_application_that_breaks_is_remembered() -> None:
    """Its client sees a lost connection, and the wire keeps what was raised."""

    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise ValueError("a defect")

    async def talk() -> tuple[Seen, list[str]]:
        wire, http = asking(broken)
        async with http:
            went = await seen(http.get("/"))
        return went, [str(error) for error in wire.crashes]

    assert run(talk(), start=START) == (("RemoteProtocolError", ""), ["a defect"])


@pytest.mark.parametrize(("how", "sent"), [("close", b"half"), ("abort", b"")])
def test_a_hang_up_is_heard_at_once(how: str, sent: bytes) -> None:
    """Whatever the application goes on doing: what it sent before it closes arrives, what it aborts does not."""

    async def hanging_up(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        getattr(scope[TRANSPORT], how)()
        await asyncio.sleep(1000)

    async def talk() -> tuple[bytes, float]:
        _, http = asking(hanging_up)
        came = b""
        async with http:
            try:
                async with http.stream("GET", "/") as answer:
                    async for chunk in answer.aiter_raw():
                        came += chunk
            except httpx.RemoteProtocolError:
                return came, running().time()
        raise AssertionError("nobody heard it")

    came, ended = run(talk(), start=START)
    assert came == sent
    assert ended < 1


def test_a_server_learns_that_its_client_has_left() -> None:
    """Whoever gives up disconnects: the application that listens for it hears it then."""
    heard: list[float] = []

    async def listening(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        heard.append(running().time())

    async def talk() -> str:
        _, http = asking(listening, latency=(0, 0))
        async with http:
            status, _ = await seen(http.get("/"))
        await asyncio.sleep(1)
        return status

    assert run(talk(), start=START) == "ReadTimeout"
    assert heard == [pytest.approx(10)]


def test_latency_is_the_seed_s() -> None:
    """The same seed takes the same time, another one another."""

    async def talk(seed: str) -> float:
        _, http = asking(seed=seed)
        async with http:
            for _ in range(10):
                await http.get("/")
        return running().time()

    one, again, other = (run(talk(seed), start=START) for seed in ("1", "1", "2"))
    assert one == again != other
    assert 10 * 3 * 0.01 < one < 10 * 3 * 0.2


class Partial:
    """A partial file in memory."""

    def __init__(self) -> None:
        self.data = b""
        self.validator = ""

    @property
    def offset(self) -> int:
        return len(self.data)

    def restart(self, validator: str) -> None:
        self.data, self.validator = b"", validator

    def write(self, chunk: bytes) -> None:
        self.data += chunk


def test_the_products_clients_sort_what_went_wrong(tmp_path: Path) -> None:
    """Not sent, in doubt, or later: as on a real network, and decided by when the connection was lost."""

    async def talk() -> list[type[ProviderError]]:
        wire = Wire(latency=(0.1, 0.1))
        kinds = []
        async with account(tmp_path, wire) as provider:
            api = client_of(wire)

            async def fails(call: Awaitable[object]) -> None:
                with pytest.raises(ProviderError) as caught:
                    await call
                kinds.append(type(caught.value))

            for how in ("refused", "timeout"):
                wire.down = how
                await fails(api.create(order("unsent")))
                await fails(api.query("unsent"))
            wire.down = ""
            outage(wire, "timeout", 0.25, 100)
            await fails(api.create(order("one")))
            await fails(api.query("one"))
            await asyncio.sleep(200)
            assert provider.ledger.report()["billed"] == {"one": 1}
            reply = await api.query("one")
            assert reply.task is not None
            outage(wire, "refused", 0.25, 1)
            await fails(downloader_of(wire).fetch(reply.task.videos[0].url, Partial()))
        assert wire.crashes == []
        return kinds

    assert run(talk(), start=START) == [
        *(NotSent,) * 4,
        OutcomeUnknown,
        NotSent,
        ResultInterrupted,
    ]


def test_a_download_goes_on_where_it_broke_off(tmp_path: Path) -> None:
    """The product's downloader gets the first half of a film, is cut off, and resumes by a range."""

    async def talk() -> tuple[bytes, bytes, int]:
        wire, sink = Wire(), Partial()
        cut = {"endpoint": "result", "when": {"first": 1}, "effect": {"cut": 300}}
        async with account(tmp_path, wire, faults=(cut,)):
            api, downloader = client_of(wire), downloader_of(wire)
            await api.create(order("one"))
            await asyncio.sleep(200)
            reply = await api.query("one")
            assert reply.task is not None
            url = reply.task.videos[0].url
            with pytest.raises(ResultInterrupted):
                await downloader.fetch(url, sink)
            half = sink.data
            await downloader.fetch(url, sink)
        return half, sink.data, sink.offset

    half, film, size = run(talk(), start=START)
    assert (len(half), len(film)) == (300, size)
    assert film.startswith(half)
    assert film[4:8] == b"ftyp"


def test_callbacks_travel_the_wire(tmp_path: Path) -> None:
    """Every change is posted to the application that is served there, at its virtual time and a little later."""
    told: list[tuple[str, float]] = []

    async def receiver(scope: Scope, receive: Receive, send: Send) -> None:
        body = await Request(scope, receive).json()
        told.append((body["task_status"], running().time()))
        await PlainTextResponse("", 204)(scope, receive, send)

    async def talk() -> dict[str, int]:
        wire = Wire()
        wire.serve("http://127.0.0.1:8787", receiver)
        async with account(tmp_path, wire, task_s=1000, queue_s=10) as provider:
            url = "http://127.0.0.1:8787/callbacks"
            await client_of(wire).create(order("one", callback_url=url))
            await asyncio.sleep(2000)
            return dict(provider.requests)

    assert run(talk(), start=START)["callback"] == 3
    assert [status for status, _ in told] == ["submitted", "processing", "succeed"]
    assert [at for _, at in told] == pytest.approx([0.5, 10.5, 1000], abs=100.5)
    assert told[1][1] == pytest.approx(10.5, abs=0.5)
