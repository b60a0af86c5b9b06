"""The port: where it listens, how it ends, and what it endures."""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from contextlib import suppress

import httpx
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from reconciler.core.errors import SettingsError
from reconciler.web.routes import status_app
from reconciler.web.serving import serving
from tests.web.standing import Standing

APP = status_app(Standing().source, None, allowed_hosts=())


async def get(url: str) -> int:
    async with httpx.AsyncClient(trust_env=False) as client:
        return (await client.get(url)).status_code


async def closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


@pytest.mark.parametrize(
    ("host", "begins"),
    [
        ("127.0.0.1", "http://127.0.0.1:"),
        ("localhost", "http://"),
        ("0.0.0.0", "http://127.0.0.1:"),
        ("::1", "http://[::1]:"),
    ],
)
def test_the_url_that_it_gives_can_be_opened(host: str, begins: str) -> None:
    """Port 0 is a free one, and the URL is one for this machine's browser; after the block nobody listens."""

    async def run() -> None:
        async with serving(APP, host, 0, is_guarded=True) as url:
            assert url.startswith(begins)
            assert await get(url) == 200
        with pytest.raises(httpx.ConnectError):
            await get(url)

    asyncio.run(run())


def test_a_port_that_is_taken_is_a_sentence() -> None:
    """Two cannot serve one port: the second is told so, and what to do; the first goes on."""

    async def run() -> None:
        async with serving(APP, "127.0.0.1", 0) as url:
            port = httpx.URL(url).port
            assert port
            with pytest.raises(
                SettingsError, match="something is already listening there"
            ) as caught:
                async with serving(APP, "127.0.0.1", port):
                    pass
            assert f"127.0.0.1:{port}" in caught.value.message
            assert "--no-http" in caught.value.hint
            assert await get(url) == 200

    asyncio.run(run())


@pytest.mark.parametrize(
    ("host", "port"), [("192.0.2.1", 0), ("no such host", 0), ("127.0.0.1", 70_000), ("a" * 80, 0)]
)
def test_an_address_that_is_none_is_a_sentence(host: str, port: int) -> None:
    """Whatever stands after `--http`, it is never a traceback."""

    async def run() -> None:
        with pytest.raises(SettingsError, match="cannot be served at"):
            async with serving(APP, host, port, is_guarded=True):
                pass

    asyncio.run(run())


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "::ffff:192.0.2.1"])
def test_pages_without_a_token_are_served_on_loopback_alone(host: str) -> None:
    """What other machines could reach is refused before anything listens, and the sentence says what to do."""

    async def run() -> None:
        with pytest.raises(SettingsError, match="would be open to other machines") as caught:
            async with serving(APP, host, 0):
                pass
        assert "RECONCILER_PAGE_TOKEN" in caught.value.hint

    asyncio.run(run())


def test_signals_stay_with_the_program() -> None:
    """Serving takes no signal handler: how the program stops is not the port's business."""

    async def run() -> None:
        before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        async with serving(APP, "127.0.0.1", 0) as url:
            assert await get(url) == 200
            after = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
            assert after == before

    asyncio.run(run())


def test_the_port_closes_in_a_second_whatever_is_under_way() -> None:
    """An answer under way gets a moment; one that never ends, and idle connections, are cut."""
    stuck = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/slow":
            await asyncio.sleep(0.3)
        elif scope["path"] == "/never":
            stuck.set()
            await asyncio.Event().wait()
        await PlainTextResponse("done")(scope, receive, send)

    async def run() -> None:
        async with httpx.AsyncClient(trust_env=False) as client:
            async with serving(app, "127.0.0.1", 0) as url:
                assert (await client.get(url)).text == "done"  # leaves an idle connection
                slow = asyncio.create_task(client.get(f"{url}slow"))
                never = asyncio.create_task(client.get(f"{url}never"))
                await stuck.wait()
                began = time.monotonic()
            assert time.monotonic() - began < 1.5
            assert (await slow).text == "done"
            with pytest.raises(httpx.HTTPError):
                await never

    asyncio.run(run())


def test_silent_connections_cannot_take_all_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections are bounded, and those that ask for nothing are cut, so that there is room again."""
    monkeypatch.setattr("reconciler.web.serving._MOST_CONNECTIONS", 10)
    monkeypatch.setattr("reconciler.web.serving._SILENT_S", 1.0)

    async def run() -> None:
        async with serving(APP, "127.0.0.1", 0) as url:
            port = httpx.URL(url).port
            silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(10)]
            for _, writer in silent[:5]:
                writer.write(b"GET / HTTP/1.1\r\nhost: local")  # and never ends
            for _, writer in silent[5:]:
                writer.write(b"GET / HTTP/1.1\r\nhost: local\r\n\r\nG")  # and begins another
            ends = (reader.read() for reader, _ in silent)
            assert await asyncio.wait_for(asyncio.gather(*ends, return_exceptions=True), 5)
            assert await get(url) == 200
            for _, writer in silent:
                await closed(writer)

    asyncio.run(run())


def test_whoever_asks_is_answered_though_others_hold_every_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The oldest connection that asks for nothing makes room; one that waits for its answer is never cut."""
    monkeypatch.setattr("reconciler.web.serving._MOST_CONNECTIONS", 10)
    asked, answer = asyncio.Event(), asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/slow":
            asked.set()
            await answer.wait()
        await PlainTextResponse("done")(scope, receive, send)

    async def run() -> None:
        async with (
            serving(app, "127.0.0.1", 0) as url,
            httpx.AsyncClient(trust_env=False) as client,
        ):
            slow = asyncio.create_task(client.get(f"{url}slow"))
            await asked.wait()
            port = httpx.URL(url).port
            silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(30)]
            for _, writer in silent:
                writer.write(b"G")
            assert await get(url) == 200
            answer.set()
            assert (await slow).text == "done"
            for _, writer in silent:
                await closed(writer)

    asyncio.run(run())


def test_bodies_that_never_end_hold_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half-sent callbacks on every connection keep nobody from learning that the program lives."""
    monkeypatch.setattr("reconciler.web.serving._MOST_CONNECTIONS", 10)
    app = status_app(Standing().source, lambda _: None, allowed_hosts=())

    async def run() -> None:
        async with serving(app, "127.0.0.1", 0) as url:
            port = httpx.URL(url).port
            halves = [await asyncio.open_connection("127.0.0.1", port) for _ in range(10)]
            for _, writer in halves:
                writer.write(b"POST /callbacks HTTP/1.1\r\nhost: me\r\ncontent-length: 9\r\n\r\n{")
                await writer.drain()
            await asyncio.sleep(0.1)
            assert await get(f"{url}livez") == 200
            for _, writer in halves:
                await closed(writer)

    asyncio.run(run())


def test_junk_on_the_wire_is_not_logged(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """What is no HTTP at all is answered or cut, and writes no line: a scanner must not fill a disk."""

    async def run() -> None:
        async with serving(APP, "127.0.0.1", 0) as url:
            for junk in (b"\x16\x03\x01\x02\x00\r\n\r\n", b"GET\r\n\r\n", b"A" * 100_000):
                reader, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(url).port)
                writer.write(junk)
                writer.write_eof()
                with suppress(ConnectionError):
                    assert b"200" not in (await asyncio.wait_for(reader.read(), 5))[:20]
                await closed(writer)
            assert await get(url) == 200

    asyncio.run(run())
    assert capfd.readouterr() == ("", "")
    assert [record for record in caplog.records if record.name != "asyncio"] == []


def test_a_socket_that_was_not_used_is_closed_again() -> None:
    """A failed attempt leaves no open socket behind (an unclosed one would fail this suite)."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        async def run() -> None:
            with pytest.raises(SettingsError):
                async with serving(APP, "127.0.0.1", port):
                    pass

        asyncio.run(run())
