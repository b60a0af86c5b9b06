"""Connections on asyncio's own streams: TLS that is checked, silences that end, and connections that are used again."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from reconciler.kling.downloads import Downloader
from reconciler.kling.errors import ResultInterrupted
from reconciler.kling.network import LOOPBACK

from .server import Answer, Asked, Server, always, http
from .test_downloads import DATA, ETAG, Memory

WHOLE = http(200, DATA, etag=ETAG)


def certificate(folder: Path, address: str) -> Path:
    """Return a file with a key, and a certificate by itself for an address."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a test")])
    now, day = dt.datetime.now(dt.UTC), dt.timedelta(days=1)
    alternative = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - day, now + day)
        .add_extension(alternative, critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    secret = key.private_bytes(pem, pkcs8, serialization.NoEncryption())
    file = folder / "certificate.pem"
    file.write_bytes(secret + made.public_bytes(pem))
    return file


@asynccontextmanager
async def encrypted(answer: Answer, file: Path) -> AsyncIterator[Server]:
    """Serve over TLS."""
    server, context = Server(answer), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=context)
    server.url = f"https://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        listener.close()


async def fetched(server: Server, times: int = 1, timeout: float = 30.0) -> list[Memory]:
    """Return what was fetched, one after the other by one client; where it broke off, what had arrived."""
    downloader = Downloader(allowed=LOOPBACK, timeout=timeout)
    sinks = [Memory() for _ in range(times)]
    try:
        for sink in sinks:
            await downloader.fetch(f"{server.url}/v.mp4", sink)
    except ResultInterrupted as failure:
        sinks[-1].validator = failure.message
    finally:
        await downloader.aclose()
    return sinks


def test_a_result_over_tls_arrives_whole_and_its_connection_is_used_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three megabytes, twice, over one connection: every byte is right."""
    file = certificate(tmp_path, "127.0.0.1")
    monkeypatch.setenv("SSL_CERT_FILE", str(file))

    async def story() -> None:
        async with encrypted(always(WHOLE), file) as server:
            assert [sink.data for sink in await fetched(server, 2)] == [DATA, DATA]
            assert server.connections == 1

    asyncio.run(story())


@pytest.mark.parametrize(
    ("address", "trusted", "reason"),
    [
        ("127.0.0.1", False, "nobody that is trusted signed it"),
        ("127.0.0.2", True, "it is another host's"),
    ],
)
def test_a_certificate_that_is_not_the_hosts_is_told_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, trusted: bool, reason: str
) -> None:
    """No request leaves, and the download may be tried again."""
    file = certificate(tmp_path, address)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(file))

    async def story() -> None:
        async with encrypted(always(WHOLE), file) as server:
            (sink,) = await fetched(server)
            assert "certificate" in sink.validator.lower(), reason
            assert (server.asked, sink.offset) == ([], 0), reason

    asyncio.run(story())


def test_a_silence_in_the_middle_ends_and_what_arrived_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two megabytes of three, and then nothing: after the time that a silence may last, they are there."""
    file = certificate(tmp_path, "127.0.0.1")
    monkeypatch.setenv("SSL_CERT_FILE", str(file))

    async def silent(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(WHOLE[: 2 * 1024**2])
        await writer.drain()
        await asyncio.sleep(60)

    async def story() -> None:
        async with encrypted(silent, file) as server:
            (sink,) = await fetched(server, timeout=0.5)
            assert "broke off" in sink.validator
            assert sink.data == WHOLE.split(b"\r\n\r\n", 1)[1][: sink.offset]
            assert sink.offset > 2 * 1024**2 - 1024

    asyncio.run(story())


def test_a_connection_that_the_host_ended_is_not_used_again() -> None:
    """It ends each connection after its answer, and says nothing of it before: the next download takes a new one."""

    async def ending(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(http(200, DATA, etag=ETAG))
        await writer.drain()
        writer.close()

    async def story() -> None:
        server = Server(ending)
        listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
        server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        assert [sink.data for sink in await fetched(server, 3)] == [DATA] * 3
        assert server.connections == 3
        listener.close()

    asyncio.run(story())
