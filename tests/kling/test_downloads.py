"""Results fetched from hosts that cut, change, cap, redirect and lie."""

from __future__ import annotations

import asyncio
import os
import time

import pytest

from reconciler.kling.downloads import Downloader
from reconciler.kling.errors import (
    ProviderError,
    ResultInterrupted,
    ResultRefused,
    ResultTooLarge,
    ResultUnsafe,
)
from reconciler.kling.network import LOOPBACK

from .server import Answer, Asked, Server, always, http, in_turn, serving

DATA = os.urandom(3 * 1024 * 1024 + 17)
ETAG = '"one"'


class Memory:
    """A partial file in memory."""

    def __init__(self, data: bytes = b"", validator: str = "") -> None:
        self.data = bytearray(data)
        self.validator = validator

    @property
    def offset(self) -> int:
        return len(self.data)

    def restart(self, validator: str) -> None:
        self.data.clear()
        self.validator = validator

    def write(self, chunk: bytes) -> None:
        self.data += chunk


def fetch(
    answer: Answer, sink: Memory, *, path: str = "/v.mp4?sig=1", **limits: float
) -> tuple[tuple[int, str] | Exception, Server]:
    """Return what is in the sink then, with its validator, or the error; and the server that was asked."""

    async def run() -> tuple[tuple[int, str] | Exception, Server]:
        async with serving(answer) as server:
            downloader = Downloader(allowed=LOOPBACK, **limits)  # type: ignore[arg-type]
            try:
                await downloader.fetch(server.url + path, sink)
            except (ProviderError, OSError) as error:
                return error, server
            else:
                return (sink.offset, sink.validator), server
            finally:
                await downloader.aclose()

    return asyncio.run(run())


def part(
    start: int, *, total: int | str = len(DATA), etag: str = ETAG, data: bytes = DATA
) -> bytes:
    return http(
        206, data[start:], content_range=f"bytes {start}-{len(data) - 1}/{total}", etag=etag
    )


def test_a_whole_result_is_saved_and_no_key_goes_with_the_request() -> None:
    """Every byte arrives, with its validator; the request carries no token and asks for no encoding."""
    sink = Memory()
    done, server = fetch(always(http(200, DATA, etag=ETAG)), sink)
    assert done == (len(DATA), ETAG)
    assert bytes(sink.data) == DATA
    headers = server.asked[0].headers
    assert "authorization" not in headers
    assert "range" not in headers
    assert headers["accept-encoding"] == "identity"


def test_a_cut_download_keeps_what_arrived_and_goes_on() -> None:
    """What came before the cut is kept to the last byte, and only the rest is fetched again."""
    sink = Memory()
    cut = http(200, DATA, etag=ETAG)[: -len(DATA) // 2]
    arrived = len(cut) - (len(http(200, DATA, etag=ETAG)) - len(DATA))
    error, _ = fetch(in_turn(cut), sink)
    assert isinstance(error, ResultInterrupted)
    assert sink.offset == arrived
    done, server = fetch(always(part(arrived)), sink)
    assert done == (len(DATA), ETAG)
    assert bytes(sink.data) == DATA
    assert server.asked[0].headers["range"] == f"bytes={arrived}-"
    assert server.asked[0].headers["if-range"] == ETAG


OTHER = bytes(len(DATA))
RESUMED = [
    (
        (http(200, OTHER, etag='"two"'),),
        OTHER,
        '"two"',
        1,
        "the file changed: If-Range gives the new one whole",
    ),
    ((http(200, DATA, etag=ETAG),), DATA, ETAG, 1, "the host knows no ranges"),
    ((part(100, etag='"two"'), http(200, OTHER)), OTHER, "", 2, "the rest of another file"),
    (
        (part(100, etag="W/" + ETAG), http(200, DATA)),
        DATA,
        "",
        2,
        "a weak ETag vouches for nothing",
    ),
    ((part(99), http(200, DATA, etag=ETAG)), DATA, ETAG, 2, "a part that begins elsewhere"),
    (
        (http(206, DATA[100:], etag=ETAG), http(200, DATA)),
        DATA,
        "",
        2,
        "a part that says not which",
    ),
    (
        (http(416, content_range="bytes */7"), http(200, DATA)),
        DATA,
        "",
        2,
        "nothing left of a shorter file",
    ),
    ((part(100, total="*"),), DATA, ETAG, 1, "a part of unknown total"),
]


@pytest.mark.parametrize(("answers", "data", "validator", "requests", "reason"), RESUMED)
def test_halves_of_different_files_are_never_joined(
    answers: tuple[bytes, ...], data: bytes, validator: str, requests: int, reason: str
) -> None:
    """A resumed download ends as one file, whatever the host makes of the range."""
    sink = Memory(DATA[:100], ETAG)
    done, server = fetch(in_turn(*answers), sink)
    assert done == (len(data), validator), reason
    assert bytes(sink.data) == data, reason
    assert len(server.asked) == requests, reason


def test_without_a_strong_validator_it_starts_over() -> None:
    """A partial file of unknown origin is not resumed."""
    sink = Memory(b"unknown")
    done, server = fetch(always(http(200, DATA, etag='W/"weak"')), sink)
    assert done == (len(DATA), "")
    assert "range" not in server.asked[0].headers
    assert bytes(sink.data) == DATA


FAILURES = [
    (http(403), ResultRefused, "the signature has expired"),
    (http(404, b"gz", content_encoding="gzip"), ResultRefused, "gone, in an encoded page"),
    (http(410), ResultRefused, "gone"),
    (http(400), ResultRefused, "an object store's word for an expired token"),
    (http(416), ResultRefused, "no range was asked for"),
    (http(429), ResultInterrupted, "too fast"),
    (http(500), ResultInterrupted, "unwell"),
    (http(204), ResultInterrupted, "no content"),
    (http(200, b"abc", content_length="5"), ResultInterrupted, "shorter than announced"),
    (http(200, b"abc", content_encoding="gzip"), ResultInterrupted, "encoded against our word"),
    (part(0), ResultInterrupted, "a part nobody asked for, twice"),
    (http(302), ResultInterrupted, "a redirect to itself ends with the host"),
    (http(302, location="http://example.com/v.mp4"), ResultUnsafe, "a redirect to plain http"),
    (http(302, location="file:///etc/passwd"), ResultUnsafe, "a redirect to a file"),
    (http(302, location="http://["), ResultUnsafe, "a redirect to nothing"),
    (http(200, b"", content_length=str(2**40)), ResultTooLarge, "announced beyond measure"),
    (b"", ResultInterrupted, "no answer"),
]


@pytest.mark.parametrize(("answer", "kind", "reason"), FAILURES)
def test_every_failure_is_of_a_kind(answer: bytes, kind: type[ProviderError], reason: str) -> None:
    """A URL to refresh, a download to go on with, or one to leave alone."""
    error, _ = fetch(in_turn(answer, answer) if b"206" in answer else in_turn(answer), Memory())
    assert type(error) is kind, reason
    if isinstance(error, ResultRefused):
        assert str(error.http_status) in error.message


def test_redirects_are_followed_by_hand_and_not_for_ever() -> None:
    """A few hops lead to the result; a circle ends."""
    hop = http(302, location="/next")
    sink = Memory()
    done, server = fetch(in_turn(hop, hop, http(200, DATA)), sink)
    assert isinstance(done, tuple)
    assert [asked.target for asked in server.asked] == ["/v.mp4?sig=1", "/next", "/next"]
    error, server = fetch(always(hop), Memory())
    assert isinstance(error, ResultUnsafe)
    assert len(server.asked) == 6


@pytest.mark.parametrize(
    "url", ["http://example.com/v.mp4", "ftp://localhost/v", "v.mp4", "", "https://["]
)
def test_only_safe_urls_are_fetched(url: str) -> None:
    """Results come by https from anywhere, by plain http from loopback only; nothing is asked otherwise."""

    async def run() -> None:
        downloader = Downloader()
        with pytest.raises(ResultUnsafe):
            await downloader.fetch(url, Memory())
        await downloader.aclose()

    asyncio.run(run())


def chunked(size: int) -> bytes:
    """Return an answer in chunks, of so many bytes, that has no end."""
    body = b"40000\r\n" + bytes(0x40000) + b"\r\n"
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    return head + body * (size // 0x40000)


ENDLESS = [
    (b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n" + DATA, 0, "nothing is announced"),
    (chunked(4_000_000), 0, "chunks without end"),
    (part(900_000, total="*"), 900_000, "what was there and the rest are too much"),
    (part(900_000, total=900_001), 900_000, "the same, and the total is a lie"),
    (http(200, DATA[:7], content_length=str(10**12)), 0, "announced, and not sent"),
]


@pytest.mark.parametrize(("answer", "there", "reason"), ENDLESS, ids=[row[2] for row in ENDLESS])
def test_a_result_without_measure_is_left(answer: bytes, there: int, reason: str) -> None:
    """However a host says, or does not say, how much it sends: no more than the limit is ever kept."""
    sink = Memory(DATA[:there], ETAG)
    error, _ = fetch(in_turn(answer), sink, max_bytes=1_000_000)
    assert type(error) is ResultTooLarge, reason
    assert "1,000,000 bytes are kept" in str(error)
    assert "RECONCILER_MAX_RESULT_BYTES" in error.hint
    assert sink.offset <= 1_000_000, reason


def test_a_drip_ends() -> None:
    """A host that sends a byte now and then does not hold a download for ever."""

    async def drip(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(http(200, content_length="100000"))
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.02)

    began = time.monotonic()
    error, _ = fetch(drip, Memory(), max_seconds=0.3)
    assert isinstance(error, ResultInterrupted)
    assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    "failure", [OSError(28, "No space left on device"), TimeoutError("the share hangs")]
)
def test_a_full_disk_is_our_own_trouble(failure: OSError) -> None:
    """What the sink raises comes through as it is, not as the host's fault."""

    class Full(Memory):
        def write(self, chunk: bytes) -> None:
            raise failure

    error, _ = fetch(always(http(200, DATA)), Full())
    assert error is failure


def test_the_environments_proxy_does_not_see_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """A demo works on a machine whose environment names a proxy."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    done, _ = fetch(always(http(200, DATA)), Memory())
    assert isinstance(done, tuple)
