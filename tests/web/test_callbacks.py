"""The receiver of callbacks: a hint that anybody can send, and no more than that."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.web.routes import status_app
from tests.web.standing import Standing, visiting

CALLBACK = {
    "task_id": "867283741759111202",
    "task_status": "succeed",
    "task_status_msg": "",
    "created_at": 1,
    "updated_at": 2,
    "final_unit_deduction": "4",
    "task_info": {"external_task_id": "mc1-qxb3rggtdhpty43aoj27wuanuz"},
    "task_result": {"videos": [{"id": "v", "url": "https://example.com/v.mp4", "duration": "5"}]},
}


def posted(content: bytes, hint: Callable[[str], None] | None) -> int:
    """Post to the application in process, and return the status of the answer."""
    app = status_app(Standing().source, hint, allowed_hosts=())

    async def run() -> int:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://public.example"
        ) as client:
            return (await client.post("/callbacks", content=content)).status_code

    return asyncio.run(run())


def test_a_callback_hints_at_both_ids() -> None:
    """The provider's message, as documented, under whatever public name: both ids are hinted at, and nothing said."""
    hints: list[str] = []

    async def run() -> None:
        async with visiting(Standing(), hints.append) as client:
            answer = await client.post(
                "/callbacks", json=CALLBACK, headers={"host": "hooks.example.com"}
            )
            assert (answer.status_code, answer.content) == (204, b"")

    asyncio.run(run())
    assert hints == ["867283741759111202", "mc1-qxb3rggtdhpty43aoj27wuanuz"]


JUNK = [
    (b"", 400, "nothing"),
    (b"\xff\xfe", 400, "no text"),
    (b"hello", 400, "no JSON"),
    (b"[]", 400, "no object"),
    (b'"text"', 400, "no object"),
    (b"[" * 60_000, 400, "too deep for the parser"),
    (b'{"a":' * 10_000, 400, "too deep for the parser"),
    (b'{"task_id":' + b"1" * 5_000 + b"}", 400, "a number too long for the parser"),
    (b"{}", 204, "no id"),
    (b'{"task_id": 867283741759111202}', 204, "a number"),
    (b'{"task_id": null, "task_info": "x"}', 204, "other kinds"),
    (b'{"task_id": "' + b"1" * 81 + b'"}', 204, "too long to be an id"),
    (b'{"task_id": "../../etc"}', 204, "not the letters of an id"),
    (b'{"task_id": "1\\n2"}', 204, "not the letters of an id"),
    (b'{"task_info": {"external_task_id": ["x"]}}', 204, "other kinds"),
]


@pytest.mark.parametrize(("content", "status", "reason"), JUNK)
def test_junk_is_no_hint(content: bytes, status: int, reason: str) -> None:
    """What is no callback is refused or ignored, and hints at nothing."""
    hints: list[str] = []
    assert posted(content, hints.append) == status, reason
    assert hints == [], reason


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from([*CALLBACK, "other"]), values | st.just({"a": 1})))
def test_whatever_parses_is_answered_the_same(message: dict[str, object]) -> None:
    """No answer tells which ids exist: any JSON object gets 204, and only short words become hints."""
    hints: list[str] = []
    assert posted(json.dumps(message).encode(), hints.append) == 204
    assert all(0 < len(hint) <= 80 for hint in hints)


def test_without_somebody_to_hint_there_is_no_receiver() -> None:
    """No callbacks are expected: 404."""
    assert posted(json.dumps(CALLBACK).encode(), None) == 404


def test_a_large_body_is_refused_unread() -> None:
    """Announced or not, more than 64 KiB gets 413, and the rest is not taken in."""
    hints: list[str] = []
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        yield b'{"task_id": "1", "x": "'
        while sent < 200_000_000:
            sent += 50_000
            yield b"x" * 50_000

    async def run() -> None:
        async with visiting(Standing(), hints.append) as client:
            announced = await client.post("/callbacks", content=b" " * (64 * 1024 + 1))
            assert announced.status_code == 413
            exactly = json.dumps(CALLBACK).encode().ljust(64 * 1024)
            assert (await client.post("/callbacks", content=exactly)).status_code == 204
            with suppress(httpx.NetworkError):  # cut while still sending, as it should be
                assert (await client.post("/callbacks", content=endless())).status_code == 413
            assert sent < 100_000_000

    asyncio.run(run())
    assert hints == ["867283741759111202", "mc1-qxb3rggtdhpty43aoj27wuanuz"]


def test_an_announced_large_body_is_not_waited_for() -> None:
    """The announcement is enough: the answer comes before the first byte of the body, and the connection ends."""

    async def run() -> None:
        async with visiting(Standing(), print) as client:
            port = client.base_url.port
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"POST /callbacks HTTP/1.1\r\nhost: x\r\ncontent-length: 65537\r\n\r\n")
            answer = await asyncio.wait_for(reader.read(), 3)
            assert answer.startswith(b"HTTP/1.1 413 ")
            writer.close()
            await writer.wait_closed()

    asyncio.run(run())


def test_a_slow_body_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that does not come ends after its time, and nobody else waits for it."""
    monkeypatch.setattr("reconciler.web.callbacks._LONGEST_S", 0.3)
    hints: list[str] = []

    async def slow() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(1)
        yield b"}"

    async def run() -> None:
        async with visiting(Standing(), hints.append) as client:
            began = time.monotonic()
            given_up = asyncio.create_task(client.post("/callbacks", content=slow()))
            assert (await client.post("/callbacks", json=CALLBACK)).status_code == 204
            assert time.monotonic() - began < 0.3
            with suppress(httpx.NetworkError):  # cut while still sending
                assert (await given_up).status_code == 408

    asyncio.run(run())


def test_a_flood_is_survived(capfd: pytest.CaptureFixture[str]) -> None:
    """Hundreds of forged callbacks and junk requests: all answered, nothing kept, nothing written anywhere."""
    hints = 0

    def count(_: str) -> None:
        nonlocal hints
        hints += 1

    async def flood(client: httpx.AsyncClient) -> None:
        for number in range(25):
            forged = {**CALLBACK, "task_id": str(number)}
            assert (await client.post("/callbacks", json=forged)).status_code == 204
            assert (await client.post("/callbacks", content=b"junk")).status_code == 400

    async def run() -> None:
        async with visiting(Standing(), count) as client:
            await asyncio.gather(*(flood(client) for _ in range(10)))
            assert (await client.get("/healthz")).status_code == 200

    asyncio.run(run())
    assert hints == 500
    assert capfd.readouterr() == ("", "")
