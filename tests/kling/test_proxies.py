"""Which way a request takes: every variable of the environment that decides it, and the sentence for a wrong one."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from reconciler.core.errors import SettingsError
from reconciler.kling.auth import Credentials
from reconciler.kling.client import KlingClient
from reconciler.kling.downloads import Downloader
from reconciler.kling.errors import NotSent
from reconciler.kling.network import EnvironmentTransport
from reconciler.kling.samples import Prober, Sample

from .server import always, http, serving

KEY = Credentials(api_key="a-key-that-nobody-may-see")
VARIABLES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")
PROXY = "http://proxy.example:3128"
SOCKS = "socks5h://user:pass@proxy.example:1080"


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def set_all(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


NAME, ADDRESS = "https://api.example.com", "https://[fd00::7]"
WAYS = [
    ({}, NAME, False, "no proxy is set"),
    ({"HTTPS_PROXY": PROXY}, NAME, True, "a proxy"),
    ({"HTTPS_PROXY": "proxy.example:3128"}, NAME, True, "a proxy without its scheme"),
    ({"HTTP_PROXY": PROXY}, NAME, False, "of another scheme"),
    ({"HTTPS_PROXY": PROXY}, "https://127.0.0.1:1", False, "this machine"),
    ({"ALL_PROXY": SOCKS}, NAME, True, "SOCKS"),
    ({"ALL_PROXY": SOCKS, "HTTPS_PROXY": PROXY}, NAME, True, "SOCKS beside an HTTPS proxy"),
    ({"all_proxy": "socks5://127.0.0.1:1", "https_proxy": PROXY}, NAME, True, "in lower case"),
    ({"HTTPS_PROXY": PROXY, "NO_PROXY": "fd00::/8"}, NAME, True, "an IPv6 network, and a name"),
    ({"HTTPS_PROXY": PROXY, "NO_PROXY": "fd00::/8"}, ADDRESS, False, "an IPv6 network"),
    ({"HTTPS_PROXY": PROXY, "NO_PROXY": "a.example,[fd00::]/8"}, ADDRESS, False, "in brackets"),
    ({"HTTPS_PROXY": PROXY, "NO_PROXY": "fd00::7"}, ADDRESS, False, "an IPv6 address"),
    ({"HTTPS_PROXY": PROXY, "NO_PROXY": "fe80::/10"}, ADDRESS, True, "another network"),
    ({"HTTPS_PROXY": PROXY, "NO_PROXY": "10.1.2.3/8 ::1"}, "https://10.9.9.9", False, "IPv4"),
    ({"HTTPS_PROXY": PROXY, "NO_PROXY": ".example.com"}, NAME, False, "a domain"),
    ({"HTTPS_PROXY": PROXY, "NO_PROXY": "*.example.com"}, NAME, False, "a domain, with a star"),
    ({"HTTPS_PROXY": PROXY, "NO_PROXY": "ample.com"}, NAME, True, "no domain of it"),
    ({"HTTPS_PROXY": PROXY, "NO_PROXY": "api.example.com:443"}, NAME, True, "only where it says so"),
    ({"HTTPS_PROXY": PROXY, "NO_PROXY": "a.b:1, *"}, ADDRESS, False, "everything"),
    ({"NO_PROXY": "10.0.0.0/99"}, NAME, False, "junk that nothing depends on"),
    ({"ALL_PROXY": "socks4://x:1", "HTTPS_PROXY": PROXY}, NAME, True, "junk that is not used"),
]  # fmt: skip


@pytest.mark.parametrize(("variables", "url", "proxied", "reason"), WAYS)
def test_a_request_takes_the_way_that_the_environment_says(
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    url: str,
    proxied: bool,
    reason: str,
) -> None:
    """Proxies of every kind that works, and networks, names and addresses that take none."""
    set_all(monkeypatch, variables)
    assert EnvironmentTransport().takes_proxy(httpx.URL(url)) is proxied, reason


WRONG = [
    ({"HTTPS_PROXY": "gopher://user:pass@x.example:1"}, ("HTTPS_PROXY", "x.example")),
    ({"HTTPS_PROXY": "http://user:pass@x:port", "ALL_PROXY": SOCKS}, ("HTTPS_PROXY", "x:port")),
    ({"all_proxy": "socks4://user:pass@x.example:1"}, ("all_proxy", "socks4")),
    ({"ALL_PROXY": "http://"}, ("ALL_PROXY",)),
    ({"HTTPS_PROXY": PROXY, "NO_PROXY": "a.example,fd00::/200"}, ("NO_PROXY", "`fd00::/200`")),
    ({"HTTPS_PROXY": PROXY, "NO_PROXY": "10.0.0.0/99"}, ("NO_PROXY", "`10.0.0.0/99`")),
    ({"SSL_CERT_FILE": "/nowhere/ca.pem"}, ("SSL_CERT_FILE", "/nowhere/ca.pem", "No such file")),
    ({"SSL_CERT_FILE": __file__}, ("SSL_CERT_FILE", "no certificates")),
    ({"SSL_CERT_FILE": str(Path(__file__).parent)}, ("SSL_CERT_FILE", "irectory")),
    ({"SSL_CERT_DIR": "/nowhere/certs"}, ("SSL_CERT_DIR", "/nowhere/certs")),
]  # fmt: skip


@pytest.mark.parametrize(("variables", "words"), WRONG)
@pytest.mark.parametrize(
    "opened",
    [
        lambda: KlingClient(base_url=NAME, credentials=KEY),
        Downloader,
        lambda: Prober(timeout=1),
    ],
    ids=["client", "downloads", "probe"],
)
def test_a_variable_that_cannot_be_used_is_named(
    monkeypatch: pytest.MonkeyPatch,
    opened: Callable[[], object],
    variables: dict[str, str],
    words: tuple[str, ...],
) -> None:
    """One sentence with the variable and its entry, and without its password."""
    set_all(monkeypatch, variables)
    with pytest.raises(SettingsError) as caught:
        opened()
    said = f"{caught.value.message} {caught.value.hint}"
    assert all(word in said for word in words), said
    assert "pass" not in said


def test_the_simulator_needs_nothing_of_all_that(monkeypatch: pytest.MonkeyPatch) -> None:
    """On this machine no proxy and no authority is used, so none can be wrong."""
    set_all(monkeypatch, {"HTTPS_PROXY": "gopher://x", "SSL_CERT_FILE": "/nowhere"})
    KlingClient(base_url="http://127.0.0.1:1", credentials=KEY)


@asynccontextmanager
async def socks(
    target: str, *, answer: bytes = b"\x05\x00"
) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Serve SOCKS5 without a password; every name leads to `target`, none to a closed door, and junk is said as it is."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            methods = (await reader.readexactly(2))[1]
            await reader.readexactly(methods)
            writer.write(answer)
            head = await reader.readexactly(5)
            asked.append(await reader.readexactly(head[4] + 2))
            if not target:
                writer.write(b"\x05\x05\x00\x01" + bytes(6))
                return
            url = httpx.URL(target)
            there = await asyncio.open_connection(url.host, url.port)
            writer.write(b"\x05\x00\x00\x01" + bytes(6))
            await asyncio.gather(pipe(reader, there[1]), pipe(there[0], writer))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"socks5h://127.0.0.1:{listener.sockets[0].getsockname()[1]}", asked
    finally:
        listener.close()


async def pipe(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(65_536):
        sink.write(data)
    sink.close()


def test_a_request_reaches_its_host_through_socks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy is told the name, which only it can resolve, and carries the bytes both ways."""

    async def run() -> tuple[Sample, list[bytes]]:
        async with (
            serving(always(http(200, b"bytes"))) as server,
            socks(server.url) as (url, asked),
        ):
            monkeypatch.setenv("ALL_PROXY", url)
            prober = Prober(timeout=5)
            try:
                return await prober.sample("http://media.invalid/a.png", lambda _: None), asked
            finally:
                await prober.aclose()

    sample, asked = asyncio.run(run())
    assert sample.parts == ((0, b"bytes"),)
    assert asked == [b"media.invalid" + (80).to_bytes(2)]


# httpcore leaves the connection to the collector when a handshake fails.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    "answer", [b"\x05\x00", b"\x05\xff", b"\x05\x02", b"HTTP/1.1 400 Bad\r\n\r\n", b"\x04"]
)
def test_a_create_that_a_proxy_does_not_pass_on_was_not_sent(
    monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    """A SOCKS proxy that refuses, wants a password, or speaks otherwise: no mistake of ours, and nothing was bought."""

    async def run() -> list[object]:
        async with socks("", answer=answer) as (url, _):
            monkeypatch.setenv("HTTPS_PROXY", url)
            client = KlingClient(base_url="https://api.invalid", credentials=KEY, timeout=3)
            questions: list[Coroutine[Any, Any, object]] = [client.create({}), client.query("a")]
            answers = await asyncio.gather(*questions, return_exceptions=True)
            await client.aclose()
            return answers

    assert [type(answer) for answer in asyncio.run(run())] == [NotSent, NotSent]
    gc.collect()
