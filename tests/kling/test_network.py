"""Where URLs of other people's choosing may lead: every spelling, every kind of address, every hop."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import pytest

from reconciler.kling.downloads import Downloader
from reconciler.kling.errors import ProviderError, ResultInterrupted, ResultUnsafe
from reconciler.kling.network import LOOPBACK, is_of_the_internet
from reconciler.kling.samples import ProbeFailed, Prober
from tests.kling.server import Server, always, http, serving
from tests.kling.test_downloads import Memory

ADDRESSES = [
    ("8.8.8.8", True, "of the internet"),
    ("2606:4700::6810:1", True, "of the internet"),
    ("::ffff:8.8.8.8", True, "mapped, and of the internet"),
    ("64:ff9b::8.8.8.8", True, "how a network of IPv6 alone names one of IPv4"),
    ("127.0.0.1", False, "this machine"),
    ("127.9.9.9", False, "this machine"),
    ("::1", False, "this machine"),
    ("::ffff:127.0.0.1", False, "this machine, mapped"),
    ("::127.0.0.1", False, "this machine, as it was once written"),
    ("64:ff9b::127.0.0.1", False, "this machine, by NAT64"),
    ("64:ff9b:1::1", False, "NAT64 of one's own"),
    ("2002:7f00:1::1", False, "this machine, by 6to4"),
    ("2002:0808:0808::1", False, "6to4, which nobody is found by any more"),
    ("2001:0:7f00:1::", False, "Teredo"),
    ("0.0.0.0", False, "unspecified"),
    ("::", False, "unspecified"),
    ("10.0.0.7", False, "private"),
    ("172.31.255.1", False, "private"),
    ("192.168.1.2", False, "private"),
    ("::ffff:10.0.0.1", False, "private, mapped"),
    ("fd00:ec2::254", False, "private; a cloud's metadata"),
    ("169.254.169.254", False, "link-local; a cloud's metadata"),
    ("fe80::1", False, "link-local"),
    ("fe80::1%lo", False, "link-local with its zone"),
    ("100.100.100.200", False, "a carrier's; a cloud's metadata"),
    ("192.0.0.192", False, "special; a cloud's metadata"),
    ("168.63.129.16", False, "a cloud's agent of the host"),
    ("198.18.0.1", False, "measurements"),
    ("192.0.2.1", False, "documents"),
    ("224.0.0.1", False, "multicast"),
    ("ff02::1", False, "multicast"),
    ("255.255.255.255", False, "broadcast"),
    ("4000::1", False, "given to nobody"),
]


@pytest.mark.parametrize(("text", "public", "reason"), ADDRESSES)
def test_every_kind_of_address_is_told(text: str, public: bool, reason: str) -> None:
    """What is wrapped in another kind of address counts as what it leads to."""
    assert is_of_the_internet(ipaddress.ip_address(text)) is public, reason


async def asked(server: Server, *urls: str, **options: Any) -> list[Any]:
    """Return a sample, or the sentence of a probe, for each URL; `PORT` in one is the server's."""
    prober = Prober(timeout=3, **options)
    found: list[Any] = []
    for url in urls:
        try:
            found.append(await prober.sample(url.replace("PORT", port_of(server)), lambda _: None))
        except ProbeFailed as failure:
            found.append(failure.message)
    await prober.aclose()
    return found


def port_of(server: Server) -> str:
    return server.url.rpartition(":")[2]


def names(monkeypatch: pytest.MonkeyPatch, *answers: Sequence[str]) -> list[str]:
    """Let every name that ends in `.test` have these addresses, one answer after the other; return who was asked for."""
    real, looked_up = socket.getaddrinfo, []
    rest = list(answers)

    def found(host: str, port: int, *others: Any, **more: Any) -> Any:
        if not str(host).endswith(".test"):
            return real(host, port, *others, **more)
        looked_up.append(host)
        given = rest.pop(0) if len(rest) > 1 else rest[0]
        return [
            place for address in given for place in real(address, port, type=socket.SOCK_STREAM)
        ]

    monkeypatch.setattr(socket, "getaddrinfo", found)
    return looked_up


SPELLINGS = [
    *("127.0.0.1", "127.1", "2130706433", "0x7f.1", "0x7f000001", "localhost", "localhost."),
    *("[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "0", "[::]", "a.test", "a.test.", "nowhere.invalid"),
]  # fmt: skip


def test_nothing_of_this_machine_is_asked_however_it_is_spelt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No connection is opened, and an open port, a closed one and a name that is none get the same sentence."""

    async def run() -> tuple[set[Any], int]:
        async with serving(always(http(200, b"secret"))) as server:
            places = (f"{host}:{port}" for host in SPELLINGS for port in ("PORT", "1"))
            said = await asked(server, *(f"http://{place}/x" for place in places))
            return set(said), server.connections

    names(monkeypatch, ["8.8.8.8", "127.0.0.1"])  # one that would do does not make up for the other
    said, connections = asyncio.run(run())
    assert connections == 0
    assert len(said) == 1, said


def test_a_redirect_leads_to_nothing_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """From a host that may be asked a redirect goes on to one that may not: each hop is looked up and checked."""
    names(monkeypatch, ["127.0.0.1"])

    async def run() -> tuple[Any, int]:
        async with serving(always(http(200, b"secret"))) as behind:
            away = http(302, location=f"http://[::ffff:127.0.0.2]:{port_of(behind)}/x")
            async with serving(always(away)) as server:
                allowed = [ipaddress.ip_network("127.0.0.1")]
                (said,) = await asked(server, "http://a.test:PORT/x", allowed=allowed)
                return said, behind.connections

    said, connections = asyncio.run(run())
    assert "can read" in said
    assert connections == 0


def test_a_name_is_looked_up_once_and_stays_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was checked is what is connected to, though the next answer would be another; the host hears its name."""
    looked_up = names(monkeypatch, ["127.0.0.1"], ["10.0.0.1"])

    async def run() -> tuple[Any, Server]:
        async with serving(always(http(200, b"bytes"))) as server:
            (sample,) = await asked(server, "http://a.test:PORT/x", allowed=LOOPBACK)
            return sample, server

    sample, server = asyncio.run(run())
    assert sample.parts == ((0, b"bytes"),)
    assert looked_up == ["a.test"]
    assert server.asked[0].headers["host"] == f"a.test:{port_of(server)}"


def test_an_address_that_does_not_answer_gives_way_to_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of several that may be asked the first that answers is taken."""
    names(monkeypatch, ["127.0.0.9", "127.0.0.1"])

    async def run() -> Any:
        async with serving(always(http(200, b"bytes"))) as server:
            return (await asked(server, "http://a.test:PORT/x", allowed=LOOPBACK))[0]

    assert asyncio.run(run()).parts == ((0, b"bytes"),)


def test_behind_a_proxy_what_is_known_here_to_be_private_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The proxy looks names up itself; it is not asked for what is an address of ours, or a name of one."""
    names(monkeypatch, ["10.0.0.1"])

    async def run() -> tuple[set[Any], int]:
        async with serving(always(http(200, b"secret"))) as proxy:
            monkeypatch.setenv("ALL_PROXY", proxy.url)
            inside = ("10.1", "169.254.169.254", "[::ffff:10.0.0.1]", "a.test")
            said = await asked(proxy, *(f"http://{host}/x" for host in inside))
            assert proxy.connections == 0
            (sample,) = await asked(proxy, "http://media.invalid/x")
            assert sample.parts == ((0, b"secret"),)
            return set(said), proxy.connections

    said, connections = asyncio.run(run())
    assert len(said) == 1
    assert connections == 1


@pytest.mark.parametrize(
    ("url", "kind", "reason"),
    [
        ("http://127.0.0.1:PORT/v.mp4", ResultUnsafe, "this machine"),
        ("https://127.1:PORT/v.mp4", ResultUnsafe, "another spelling"),
        ("https://[::ffff:127.0.0.1]:PORT/v.mp4", ResultUnsafe, "mapped"),
        ("https://a.test:PORT/v.mp4", ResultUnsafe, "a name of it"),
        ("https://nowhere.invalid:PORT/v.mp4", ResultInterrupted, "a name that may come back"),
    ],
)
def test_a_result_is_not_fetched_from_within(
    monkeypatch: pytest.MonkeyPatch, url: str, kind: type[ProviderError], reason: str
) -> None:
    """A provider, or who forged its answer, reaches nothing here; what is paid is not lost, and the setting is named."""
    names(monkeypatch, ["127.0.0.1"])

    async def run() -> tuple[ProviderError, int]:
        async with serving(always(http(200, b"secret"))) as server:
            downloader = Downloader(timeout=3)
            with pytest.raises(ProviderError) as caught:
                await downloader.fetch(url.replace("PORT", port_of(server)), Memory())
            await downloader.aclose()
            return caught.value, server.connections

    error, connections = asyncio.run(run())
    assert type(error) is kind, reason
    assert connections == 0, reason
    assert ("RECONCILER_ALLOWED_NETWORKS" in error.hint) is (kind is ResultUnsafe)


PUBLIC = [
    (lambda _: httpx.Response(404), "answers HTTP 404: the provider could not read it either"),
    (lambda _: httpx.Response(302, headers={"Location": "/x"}), "redirects more than 5 times"),
    (lambda _: httpx.Response(302, headers={"Location": "ftp://a/x"}), "redirects to something that is not an http or https URL"),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "sentence"), PUBLIC)
def test_of_a_host_of_the_internet_it_is_said_what_it_answers(
    answer: Callable[[httpx.Request], httpx.Response], sentence: str
) -> None:
    """Not found, redirects without end, redirects to nowhere: a sentence each."""

    async def run() -> str:
        prober = Prober(timeout=3, transport=httpx.MockTransport(answer))
        with pytest.raises(ProbeFailed) as caught:
            await prober.sample("https://media.example.com/x", lambda _: None)
        await prober.aclose()
        return caught.value.message

    assert asyncio.run(run()) == sentence
