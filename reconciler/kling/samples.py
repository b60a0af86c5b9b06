"""Samples of media that a spec names by URL: half a megabyte of the beginning and of three other places, no more.

No key is sent and no cookie kept. A ranged GET and no HEAD: signed URLs are mostly signed for GET alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final

import httpx

from reconciler.core.errors import SpecError
from reconciler.kling.network import AddressRefused, NameUnknown, Network, Visitor, part_announced

PART: Final = 512 * 1024  # bytes read at a time
MOST_PARTS: Final = 4  # for a URL
LONGEST: Final = 60.0  # s for a URL, however slowly it answers
AT_A_TIME: Final = 8

_UNREAD: Final = (
    "is no file that the provider can read: its host is not known here, is this machine or in a private network, "
    "or does not give the file; put it where everybody can read it"
)


class ProbeFailed(SpecError):
    """A URL cannot be read; the message goes on after it."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The parts of a URL's file that were read."""

    content_type: str
    size: int | None  # bytes of the whole file, None when the host does not say
    parts: tuple[tuple[int, bytes], ...]  # where each begins, and its bytes


Where = Callable[[Sample], int | None]  # where the next part begins, None: no more are needed


class Prober(Visitor):
    """Reads samples, a few at a time.

    Failures in a network that is `allowed`, and refused addresses, share one sentence: other sentences would tell the
    authors of specs what is behind the firewall.
    """

    def __init__(
        self,
        *,
        timeout: float,
        allowed: Iterable[Network] = (),
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        schemes = ("http", "https")
        super().__init__(timeout=timeout, allowed=allowed, schemes=schemes, transport=transport)
        self._turn = asyncio.Semaphore(AT_A_TIME)

    async def sample(self, url: str, where: Where) -> Sample:
        """Return the beginning of what a URL leads to, and the parts that `where` asks for.

        Raises `ProbeFailed` when it cannot be read; the sentence says nothing of the URL itself, which may be secret.
        """
        hops: list[httpx.URL] = []
        try:
            async with self._turn, asyncio.timeout(LONGEST):
                sample = await self._part(url, 0, hops)
                while len(sample.parts) < MOST_PARTS and (begin := where(sample)) is not None:
                    more = await self._part(url, begin, hops)
                    if not more.parts:
                        break
                    sample = replace(sample, parts=(*sample.parts, *more.parts))
                return sample
        except (ProbeFailed, httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as failure:
            if any(self.way.leads_inside(hop) for hop in hops):
                raise ProbeFailed(_UNREAD) from None
            raise _failed(failure) from failure

    async def _part(self, url: str, begin: int, hops: list[httpx.URL]) -> Sample:
        """Read a part; a host that knows no ranges gives the beginning, and is not asked for another place."""
        headers = {"Range": f"bytes={begin}-{begin + PART - 1}"}
        first = self._hop(hops, httpx.URL(url))
        visit = self.visit(
            first, headers, lambda here, location: self._hop(hops, here.join(location))
        )
        async with visit as response:
            self.http.cookies.clear()
            if response.status_code == 416 and not begin:  # an empty file has no part
                return Sample("", 0, ((0, b""),))
            if response.status_code not in (200, 206):
                said = f"answers HTTP {response.status_code}"
                raise ProbeFailed(f"{said}: the provider could not read it either")
            content_type = response.headers.get("Content-Type", "").partition(";")[0].strip()
            if (announced := part_announced(response)) is None:
                raise ProbeFailed("answers with a part of a file and does not say which")
            starts, size = announced
            data = bytearray()
            if starts == begin:
                async for chunk in response.aiter_raw(64 * 1024):
                    data += chunk
                    if len(data) >= PART:
                        break
            parts = ((begin, bytes(data[:PART])),) if data or not begin else ()
            return Sample(content_type[:80].lower(), size, parts)

    def _hop(self, hops: list[httpx.URL], target: httpx.URL) -> httpx.URL:
        """Note a URL that is visited; raises ProbeFailed for one that is not http(s)."""
        self.http.cookies.clear()
        if target.scheme not in ("http", "https") or not target.host:
            raise ProbeFailed("redirects to something that is not an http or https URL")
        hops.append(target)
        return target


def _failed(failure: Exception) -> ProbeFailed:
    match failure:
        case ProbeFailed():
            return failure
        case httpx.TooManyRedirects():
            return ProbeFailed(str(failure))
        case AddressRefused() | NameUnknown():
            return ProbeFailed(_UNREAD)
        case TimeoutError():
            return ProbeFailed(f"did not answer within {LONGEST:.0f} s")
    return ProbeFailed(f"cannot be reached: {(str(failure) or type(failure).__name__)[:200]}")
