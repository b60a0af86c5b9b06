"""Where HTTP may go and how much may come back: the rules that the clients of this package share. No requests here."""

from __future__ import annotations

import re
import zlib
from functools import cache
from importlib import metadata
from typing import Final

import httpx

from reconciler.core.errors import SettingsError
from reconciler.core.hosts import is_loopback

MAX_BODY: Final = 16 * 1024**2
"""Bytes of an answer that are read, unpacked; a page of 500 tasks is about a megabyte."""
ACCEPTED: Final = "gzip"
"""The one encoding of an answer that is asked for, and unpacked."""
_PASTED: Final = re.compile(r"(?<![:/])(/+v1(/videos(/motion-control)?)?)?/*$")
"""What stands at the end of a base that was copied with the path of an endpoint."""


def may_visit(url: httpx.URL) -> bool:
    """Return whether a request may go there: https anywhere, plain http on this machine only."""
    if not url.host or "%" in url.host:  # httpx escapes what no host name may hold
        return False
    return url.scheme == "https" or (url.scheme == "http" and is_loopback(url.host))


def api_base(text: str) -> httpx.URL:
    """Return the API's base without a final slash; raises SettingsError when a key may not be sent there.

    What the API's own paths begin with is no part of it, though people paste it: `/v1`, or a whole endpoint.
    """
    try:
        url = httpx.URL(_PASTED.sub("", text.strip()))
    except (httpx.InvalidURL, ValueError):
        raise SettingsError(
            "KLING_BASE_URL is not a URL.",
            hint="It is like https://api-singapore.klingai.com, the default.",
        ) from None
    if not url.scheme or not url.host:
        raise SettingsError(
            f"KLING_BASE_URL is {text!r}, which is not a URL.",
            hint="It is like https://api-singapore.klingai.com, the default.",
        )
    if url.userinfo or url.query or url.fragment:
        raise SettingsError("KLING_BASE_URL may hold a host, a port and a path, nothing else.")
    if not may_visit(url):
        raise SettingsError(
            f"KLING_BASE_URL is {text!r}, which would send the key unprotected.",
            hint="Use https; plain http is for localhost only.",
        )
    return url


@cache
def user_agent() -> str:
    """Return how this program names itself to servers."""
    try:
        return f"kling-reconciler/{metadata.version('kling-reconciler')}"
    except metadata.PackageNotFoundError:
        return "kling-reconciler/0"


async def read_bounded(response: httpx.Response) -> bytes:
    """Return the body, unpacked, or nothing when it is longer than `MAX_BODY` or packed otherwise than was asked for.

    It is not unpacked by httpx, which does so without a bound, and once for every encoding that is named: a few kB
    that say `gzip, gzip` become gigabytes. Raises what httpx raises.
    """
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in {"", "identity", ACCEPTED}:
        return b""
    unpacker = zlib.decompressobj(wbits=31) if encoding == ACCEPTED else None
    body = bytearray()
    async for chunk in response.aiter_raw() if unpacker else response.aiter_bytes():
        try:
            body += unpacker.decompress(chunk, MAX_BODY + 1 - len(body)) if unpacker else chunk
        except zlib.error:
            return b""
        if len(body) > MAX_BODY:
            return b""
    return bytes(body)
