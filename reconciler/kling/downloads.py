"""Results fetched from the hosts that hold them, which are not the API's: no key is known here, so none can leak.

A fetch continues the bytes that the sink has, verifies the announced length, and leaves the sink what arrived when
it breaks off. It does not look whether the bytes are a video.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack
from typing import Final, Protocol

import httpx

from reconciler.core.hosts import is_loopback
from reconciler.core.schedule import RATE_WINDOW
from reconciler.kling import errors
from reconciler.kling.network import AddressRefused, Network, Visitor, may_visit, part_announced

MAX_RESULT: Final = 256 * 1024**2  # bytes; 30 s of 4K at 50 Mbit/s are 190 MB
CHUNK: Final = (
    128 * 1024
)  # bytes, at least, that are written at once; what arrives is mostly longer
# Bytes per second, over a window; a download below it does not keep others waiting.
FLOOR: Final = 16 * 1024
_PASSING: Final = frozenset({408, 425, 429})
_STRONG: Final = re.compile(r'"[\x21\x23-\x7e]*"')  # an ETag that vouches for every byte


class Sink(Protocol):
    """A partial file, which outlives the fetches that fill it."""

    @property
    def offset(self) -> int:
        """Bytes already there."""

    @property
    def validator(self) -> str:
        """The strong ETag of the bytes already there, "" when unknown."""

    def restart(self, validator: str) -> None:
        """Truncate to nothing; what is written from now on belongs to this ETag."""

    def write(self, chunk: bytes) -> None:
        """Append."""


class Downloader(Visitor):
    """Fetches results, several at a time: each in at most `max_seconds` s, of at most `max_bytes`, to its own sink."""

    def __init__(
        self,
        *,
        timeout: float = 30.0,
        max_bytes: int = MAX_RESULT,
        max_seconds: float = 3600.0,
        allowed: Iterable[Network] = (),
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        super().__init__(timeout=timeout, allowed=allowed, transport=transport)
        self._max_bytes = max_bytes
        self._max_seconds = max_seconds

    async def fetch(
        self,
        url: str,
        sink: Sink,
        *,
        window: float = RATE_WINDOW,
        is_awaited: Callable[[], bool] = lambda: False,
    ) -> str:
        """Fetch a whole result, from the sink's offset when its ETag still holds; returns its strong ETag, or "".

        Raises ResultRefused for a URL that a refresh may cure, ResultInterrupted when another fetch may go on (of
        which ResultSlow: below `FLOOR` for a `window`, in s, while its place `is_awaited`), ResultUnsafe when none
        should (of which ResultTooLarge), and what the sink raises.
        """
        pace = _Pace(window, is_awaited)
        limit = asyncio.timeout(self._max_seconds)
        try:
            async with limit:
                if not await self._attempt(url, sink, pace):
                    # The partial file and the answer did not fit together: once more, from nothing.
                    sink.restart("")
                    if not await self._attempt(url, sink, pace):
                        said = "The result's host answered with a part that nobody asked for."
                        raise errors.ResultInterrupted(said)
        except TimeoutError:
            if limit.expired():
                raise errors.ResultInterrupted("The download took too long.") from None
            raise
        return sink.validator

    async def _attempt(self, url: str, sink: Sink, pace: _Pace) -> bool:
        """Return whether the sink now holds the whole result; False asks for a fresh start."""
        headers = {}
        if sink.offset and sink.validator:  # without a strong one the halves might not fit together
            headers = {"Range": f"bytes={sink.offset}-", "If-Range": sink.validator}
        async with AsyncExitStack() as opened:
            try:
                visit = self.visit(_safe(url), headers, _next_hop)
                response = await opened.enter_async_context(visit)
            except AddressRefused:
                raise _inside() from None
            except httpx.TooManyRedirects:
                raise errors.ResultUnsafe("The result's URL redirects endlessly.") from None
            except (httpx.HTTPError, OSError) as failure:
                raise _broken(failure) from failure
            begin, total = part_announced(response) or (None, None)
            status, etag = response.status_code, response.headers.get("ETag", "")
            etag = etag if _STRONG.fullmatch(etag) else ""
            goes_on = bool(etag) and (begin, etag) == (sink.offset, sink.validator)
            if (status == 206 and not goes_on) or (status == 416 and sink.offset):
                return False
            if status == 200:
                sink.restart(etag)
            elif status != 206:
                # Any lasting 4xx is the URL's fault: an expired signature is a 400, 401, 403, 404 or 410.
                is_lasting = 400 <= status < 500 and status not in _PASSING
                kind = errors.ResultRefused if is_lasting else errors.ResultInterrupted
                raise kind(f"The result's host answered HTTP {status}.", http_status=status)
            await self._pour(response, sink, pace, total)
        return True

    async def _pour(
        self, response: httpx.Response, sink: Sink, pace: _Pace, total: int | None
    ) -> None:
        kept = f"at most {self._max_bytes:,} bytes are kept."
        if response.headers.get("Content-Encoding", "identity") != "identity":
            said = "The result arrived compressed, although it was asked for as it is."
            raise errors.ResultInterrupted(said)
        if total is not None and total > self._max_bytes:
            raise errors.ResultTooLarge(f"The result is announced as {total:,} bytes, and {kept}")
        async for chunk in _chunks(response, pace):
            if sink.offset + len(chunk) > self._max_bytes:
                raise errors.ResultTooLarge(f"The result goes on, and {kept}")
            sink.write(chunk)
        if total is not None and sink.offset != total:
            raise errors.ResultInterrupted(f"{sink.offset} of {total} bytes arrived.")


class _Pace:
    """Whether a download is slow while another one waits for its place."""

    def __init__(self, window: float, is_awaited: Callable[[], bool]) -> None:
        self._window = window
        self._is_awaited = is_awaited
        self._since = asyncio.get_running_loop().time()
        self._arrived = 0

    def is_too_slow(self, count: int) -> bool:
        """Count bytes that arrived; whether a window is over and was too slow."""
        self._arrived += count
        passed = asyncio.get_running_loop().time() - self._since
        if passed < self._window:
            return False
        is_slow = self._arrived < FLOOR * passed
        self._since, self._arrived = self._since + passed, 0
        return is_slow and self._is_awaited()


async def _chunks(response: httpx.Response, pace: _Pace) -> AsyncIterator[bytes]:
    """Give the body in pieces of `CHUNK` or more, also what arrived before a failure; raises ResultInterrupted."""
    gathered: list[bytes] = []
    size = 0
    failure: errors.ResultInterrupted | None = None
    try:
        async for piece in response.aiter_raw():
            gathered.append(piece)
            size += len(piece)
            if pace.is_too_slow(len(piece)):
                failure = errors.ResultSlow()
                break
            if size >= CHUNK:
                yield b"".join(gathered)
                gathered.clear()
                size = 0
    except (httpx.HTTPError, OSError) as broken:
        failure = _broken(broken)
    if gathered:
        yield b"".join(gathered)
    if failure is not None:
        raise failure


def _safe(url: str) -> httpx.URL:
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):
        raise errors.ResultUnsafe("The result's URL is not a URL.") from None
    if not may_visit(parsed):
        raise errors.ResultUnsafe(f"The result's URL is not https: {parsed.scheme}://{parsed.host}")
    return parsed


def _next_hop(here: httpx.URL, location: str) -> httpx.URL:
    """Return a redirect's target; raises ResultUnsafe for one that leads from outside to this machine."""
    try:
        target = _safe(str(here.join(location)))
    except (httpx.InvalidURL, ValueError):
        raise errors.ResultUnsafe("The result's URL redirects to no URL.") from None
    if is_loopback(target.host) and not is_loopback(here.host):
        raise _inside()
    return target


def _inside() -> errors.ResultUnsafe:
    """Return the one error for all addresses inside, which tells nothing of what is there."""
    return errors.ResultUnsafe(
        "The result lies on this machine or in a private network, where none is fetched from.",
        hint="If it is meant to be there, name the network in RECONCILER_ALLOWED_NETWORKS.",
    )


def _broken(failure: Exception) -> errors.ResultInterrupted:
    said = str(failure) or type(failure).__name__
    return errors.ResultInterrupted(f"The download broke off: {said}")
