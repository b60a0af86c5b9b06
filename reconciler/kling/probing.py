"""A look at media that a spec names by URL: half a megabyte of the beginning and of three other places, no more.

It sends no key and keeps no cookie. A ranged GET and no HEAD: signed URLs are mostly signed for GET alone. What the
bytes mean is for others to say.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final

import httpx

from reconciler.core.errors import SpecError
from reconciler.kling.proxies import EnvironmentTransport
from reconciler.kling.reach import user_agent

PART: Final = 512 * 1024  # bytes read at a time
MOST_PARTS: Final = 4  # for a URL
MAX_HOPS: Final = 5
LONGEST: Final = 60.0  # s for a URL, however slowly it answers
AT_A_TIME: Final = 8
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_CONTENT_RANGE: Final = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18}|\*)")
_PRIVATE: Final = (
    "leads to this machine or a private network, where the provider cannot read it: "
    "put the file where everybody can"
)


class ProbeFailed(SpecError):
    """A URL cannot be read; the message goes on after it."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What was read of a URL."""

    content_type: str
    size: int | None  # bytes of the whole file, None when the host does not say
    parts: tuple[tuple[int, bytes], ...]  # where each begins, and its bytes


Where = Callable[[Sample], int | None]
"""Says where the next part begins, None when what there is was enough."""


class Prober:
    """Reads samples, a few at a time.

    `timeout` bounds a silence in s. With `private` set, hosts of this machine and of private networks are asked too:
    the simulator can reach them, the provider cannot.
    """

    def __init__(
        self, *, timeout: float, private: bool, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._private = private
        self._turn = asyncio.Semaphore(AT_A_TIME)
        self._way = EnvironmentTransport(schemes=("http", "https")) if transport is None else None
        self._http = httpx.AsyncClient(
            headers={"User-Agent": user_agent(), "Accept-Encoding": "identity"},
            follow_redirects=False,
            timeout=timeout,
            trust_env=False,
            transport=transport or self._way,
        )

    async def aclose(self) -> None:
        """Close every connection."""
        await self._http.aclose()

    async def sample(self, url: str, where: Where) -> Sample:
        """Return the beginning of what a URL leads to, and the parts that `where` asks for.

        Raises `ProbeFailed` when it cannot be read; the sentence says nothing of the URL itself, which may be secret.
        """
        try:
            async with self._turn, asyncio.timeout(LONGEST):
                sample = await self._part(url, 0)
                while len(sample.parts) < MOST_PARTS and (begin := where(sample)) is not None:
                    more = await self._part(url, begin)
                    if not more.parts:
                        break
                    sample = replace(sample, parts=(*sample.parts, *more.parts))
                return sample
        except TimeoutError:
            raise ProbeFailed(f"did not answer within {LONGEST:.0f} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as failure:
            reason = str(failure) or type(failure).__name__
            raise ProbeFailed(f"cannot be reached: {reason[:200]}") from failure

    async def _part(self, url: str, begin: int) -> Sample:
        """Read a part; a host that knows no ranges gives the beginning, and is not asked for another place."""
        headers = {"Range": f"bytes={begin}-{begin + PART - 1}"}
        async with self._open(url, headers) as response:
            if response.status_code == 416 and not begin:  # of an empty file there is no part
                return Sample("", 0, ((0, b""),))
            if response.status_code not in (200, 206):
                raise ProbeFailed(
                    f"answers HTTP {response.status_code}: the provider could not read it either"
                )
            content_type = response.headers.get("Content-Type", "").partition(";")[0].strip()
            starts, size = _span(response)
            data = bytearray()
            if starts == begin:
                async for chunk in response.aiter_raw(64 * 1024):
                    data += chunk
                    if len(data) >= PART:
                        break
            parts = ((begin, bytes(data[:PART])),) if data or not begin else ()
            return Sample(content_type[:80].lower(), size, parts)

    @asynccontextmanager
    async def _open(self, url: str, headers: dict[str, str]) -> AsyncIterator[httpx.Response]:
        """Give the answer at the end of the redirects, its body unread."""
        target = httpx.URL(url)
        for _ in range(MAX_HOPS + 1):
            self._check(target)
            request = self._http.build_request("GET", target, headers=headers)
            response = await self._http.send(request, stream=True)
            self._http.cookies.clear()
            try:
                self._check_peer(response)
                if response.status_code not in _REDIRECTS:
                    yield response
                    return
                target = target.join(response.headers.get("Location", ""))
            finally:
                await response.aclose()
        raise ProbeFailed(f"redirects more than {MAX_HOPS} times")

    def _check(self, url: httpx.URL) -> None:
        """Every hop is checked anew: a redirect from outside is not followed into this machine."""
        if url.scheme not in ("http", "https") or not url.host:
            raise ProbeFailed("redirects to something that is not an http or https URL")
        if not self._private and is_private(url.host):
            raise ProbeFailed(_PRIVATE)

    def _check_peer(self, response: httpx.Response) -> None:
        """A public name may still stand for a private address; behind a proxy that cannot be told."""
        stream = response.extensions.get("network_stream")
        proxied = self._way is not None and self._way.takes_proxy(response.request.url)
        if self._private or proxied or stream is None:
            return
        address = stream.get_extra_info("server_addr")
        if address and is_private(str(address[0])):
            raise ProbeFailed(_PRIVATE)


def is_private(host: str) -> bool:
    """Whether a host is, by its very spelling, one that nobody outside can reach; no name is resolved."""
    host = host.strip("[]").rstrip(".").lower()
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith((".localhost", ".local", ".internal"))
    mapped = getattr(address, "ipv4_mapped", None)
    return not (mapped or address).is_global


def _span(response: httpx.Response) -> tuple[int, int | None]:
    """Return where the body begins and how long the whole file is, as announced."""
    if response.status_code == 206:
        announced = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if announced is None:
            raise ProbeFailed("answers with a part of a file and does not say which")
        return int(announced[1]), None if announced[2] == "*" else int(announced[2])
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if re.fullmatch("[0-9]{1,18}", length) else None
