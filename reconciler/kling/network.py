"""Connections to other machines: addresses that are allowed, proxies, certificates, and how much of an answer is read.

A name in a URL of another party is looked up once, each address is checked, and one of those is connected to: a second
look-up might be answered otherwise. The TLS name and the Host header stay those of the URL. Proxies are read here
because httpx knows no networks in `NO_PROXY`, and names no variable that it cannot read.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import re
import socket
import ssl
import urllib.request
import zlib
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import cache, partial
from importlib import metadata
from pathlib import Path
from typing import Final

import httpcore
import httpx
import socksio

from reconciler.core.errors import SettingsError
from reconciler.core.hosts import is_loopback

MAX_BODY: Final = 16 * 1024**2  # bytes of an answer, unpacked; a page of 500 tasks is about 1 MB
ACCEPTED: Final = "gzip"  # the one encoding of an answer that is asked for
MAX_HOPS: Final = 5
_CONTENT_RANGE: Final = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18}|\*)")
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_SCHEMES: Final = ("http", "https", "socks5", "socks5h")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

LOOPBACK: Final[tuple[Network, ...]] = tuple(map(ipaddress.ip_network, ("127.0.0.0/8", "::1")))
LOOK_UP: Final = 10.0  # s for a name, where the caller names no time
SOON: Final = 3.0  # s for an address, while there is another to try
MOST_TRIED: Final = 4  # addresses of a name
_INTERNET: Final = ipaddress.ip_network("2000::/3")  # all of IPv6 that is given out (IANA)
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")  # an IPv4 address is its end (RFC 6052)
_SPECIAL: Final = (
    "192.0.0.0/24",  # special purposes; a cloud's metadata are at .192 (RFC 6890)
    "192.88.99.0/24",  # relays of 6to4
    "168.63.129.16",  # a cloud's agent of the host
    "2001::/23",  # Teredo, which wraps IPv4 addresses, and other special purposes
    "2002::/16",  # 6to4, which wraps them too
)
_WITHIN: Final = tuple(map(ipaddress.ip_network, _SPECIAL))


class AddressRefused(httpx.ConnectError):
    """An address of the host is of this machine or of a private network; nothing was sent."""


class NameUnknown(httpx.ConnectError):
    """The name has no address here, or none in time; nothing was sent."""


class CheckedNetwork(httpcore.AsyncNetworkBackend):
    """Connects to the internet and to networks `allowed`; raises AddressRefused, NameUnknown and httpcore's errors."""

    def __init__(self, allowed: Iterable[Network]) -> None:
        self._allowed = tuple(allowed)
        self._wire = httpcore.AnyIOBackend()
        self.inside: set[str] = set()
        """Hosts that were found in an allowed network, and not on the internet."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address that answers, of those that may all be asked; `timeout` is in s for each."""
        *others, last = map(str, (await self.check(host, port, timeout))[:MOST_TRIED])
        connect, how = self._wire.connect_tcp, (local_address, socket_options)
        soon = SOON if timeout is None else min(timeout, SOON)
        for address in others:
            with suppress(httpcore.ConnectError, httpcore.ConnectTimeout):
                return await connect(address, port, soon, *how)
        return await connect(last, port, timeout, *how)

    async def check(self, host: str, port: int, timeout: float | None = None) -> list[Address]:
        """Return the addresses of a host, each of which may be asked; `timeout` bounds the look-up, in s."""
        addresses = await _look_up(host, port, LOOK_UP if timeout is None else timeout)
        inside = [address for address in addresses if not is_of_the_internet(address)]
        if not all(is_within(address, self._allowed) for address in inside):
            raise AddressRefused("the host is this machine, or in a private network")
        if inside:
            self.inside.add(host)
        return addresses


def is_of_the_internet(address: Address) -> bool:
    """Whether an address is public, and not this machine's own."""
    plain = _unwrapped(address)
    if is_within(plain, _WITHIN) or plain.is_multicast or not plain.is_global:
        return False
    return (plain.version == 4 or plain in _INTERNET) and not _is_of_this_machine(plain)


def is_within(address: Address, networks: Collection[Network]) -> bool:
    """Whether an address, or the IPv4 address that it stands for, is in one of these networks."""
    plain = _unwrapped(address)
    return any(plain in network or address in network for network in networks)


def _unwrapped(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 address wraps; the address itself where it wraps none."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped:
            return address.ipv4_mapped
        if address in _NAT64:
            return ipaddress.IPv4Address(address.packed[-4:])
    return address


def _is_of_this_machine(address: Address) -> bool:
    """Whether an address is this machine's own; a datagram's socket is asked, and nothing is sent."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as asked:
        try:
            asked.connect((str(address), 9))
            return bool(asked.getsockname()[0] == str(address))
        except OSError:  # it cannot be reached at all
            return False


async def _look_up(host: str, port: int, timeout: float) -> list[Address]:
    """Return every address of a host, in the order in which to try them."""
    loop = asyncio.get_running_loop()
    with suppress(OSError, ValueError):  # TimeoutError and UnicodeError are among them
        async with asyncio.timeout(timeout):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        if addresses := dict.fromkeys(ipaddress.ip_address(place[0]) for *_, place in found):
            return list(addresses)
    raise NameUnknown("the host's name is not known here")


class EnvironmentTransport(httpx.AsyncBaseTransport):
    """Sends each request directly, or through the proxy that the environment names for it.

    With `allowed`, only the internet and these networks can be reached. A proxy looks names up by itself: a host behind
    it is refused where this machine knows its address. Raises SettingsError, which names the variable and no password,
    when one of `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`, `SSL_CERT_FILE`, `SSL_CERT_DIR` cannot be used.
    """

    def __init__(
        self,
        limits: httpx.Limits | None = None,
        *,
        schemes: Collection[str] = ("https",),
        allowed: Iterable[Network] | None = None,
    ) -> None:
        """`schemes` are those of the URLs that may take a proxy; what is set for others is not looked at."""
        limits = limits or httpx.Limits(max_connections=100, keepalive_expiry=5.0)
        trust = _authorities()
        proxies = {scheme: proxy for scheme in schemes if (proxy := _proxy(scheme))}
        self._networks, self._names = _exceptions() if proxies else ([], [])
        self._checked = None if allowed is None else CheckedNetwork(allowed)
        way = partial(httpx.AsyncHTTPTransport, verify=trust, limits=limits, trust_env=False)
        self._direct = way()
        if self._checked is not None:
            # httpx takes no network of ours, so its pool is one that does.
            self._direct._pool = httpcore.AsyncConnectionPool(
                ssl_context=trust,
                max_connections=limits.max_connections,
                max_keepalive_connections=limits.max_keepalive_connections,
                keepalive_expiry=limits.keepalive_expiry,
                network_backend=self._checked,
            )
        self._by_scheme = {scheme: way(proxy=proxy) for scheme, proxy in proxies.items()}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request its way; raises what httpx raises, AddressRefused and NameUnknown."""
        way = self._direct
        if self.takes_proxy(request.url):
            way = self._by_scheme[request.url.scheme]
            if self._checked is not None:
                with suppress(NameUnknown):  # the proxy may know it
                    await self._checked.check(*_place(request.url))
        try:
            return await way.handle_async_request(request)
        except socksio.ProtocolError as failure:  # not translated by httpx; nothing has left yet
            said = f"what answers at the proxy speaks no SOCKS: {failure}"
            raise httpx.ProxyError(said) from None

    def takes_proxy(self, url: httpx.URL) -> bool:
        """Whether a request to this URL takes a proxy."""
        if url.scheme not in self._by_scheme:
            return False
        host, place = url.raw_host.decode("ascii"), url.netloc.decode("ascii")
        if is_loopback(host) or urllib.request.proxy_bypass(place):  # the system's list, too
            return False
        if any(one in {"*", host, place} or host.endswith(f".{one}") for one in self._names):
            return False
        try:
            address = ipaddress.ip_address(url.host)
        except ValueError:
            return True
        return not any(address in network for network in self._networks)

    def leads_inside(self, url: httpx.URL) -> bool:
        """Whether this URL's host was found to be in a network that is allowed, and not of the internet."""
        return self._checked is not None and _place(url)[0] in self._checked.inside

    async def aclose(self) -> None:
        """Close every connection."""
        for transport in (self._direct, *self._by_scheme.values()):
            await transport.aclose()


def _place(url: httpx.URL) -> tuple[str, int]:
    """Return host and port as httpcore names them."""
    return url.raw_host.decode("ascii"), url.port or (443 if url.scheme == "https" else 80)


def _proxy(scheme: str) -> httpx.Proxy | None:
    """Return the proxy of a scheme; raises SettingsError for a variable that names none."""
    known = urllib.request.getproxies()
    name = next((n for n in (scheme, "all") if known.get(n, "").strip()), None)
    if name is None:
        return None
    url = known[name].strip()
    url = url if "://" in url else f"http://{url}"
    with suppress(ValueError, httpx.InvalidURL):
        proxy = httpx.Proxy(url)
        if proxy.url.scheme in _SCHEMES and proxy.url.host:
            return proxy
    kind, _, rest = url.rpartition("://")
    shown = f"{kind}://{rest.rpartition('@')[2]}"[:80]  # without a password
    raise SettingsError(
        f"{_variable(f'{name}_proxy')} is `{shown}`, which names no proxy that can be used",
        hint="It is like http://proxy.example.com:3128; http, https, socks5 and socks5h proxies are supported.",
    )


def _exceptions() -> tuple[list[Network], list[str]]:
    """Return the networks of `NO_PROXY`, and its names in lower case, each of which includes its subdomains."""
    networks: list[Network] = []
    names: list[str] = []
    for entry in re.split(r"[,\s]+", urllib.request.getproxies_environment().get("no", "")):
        plain = entry.rpartition("://")[2]
        try:
            networks.append(ipaddress.ip_network(re.sub(r"[\[\]]", "", plain), strict=False))
        except ValueError:
            if "/" in plain:
                raise SettingsError(
                    f"{_variable('no_proxy')} holds `{entry[:80]}`, which is not a network",
                    hint="Networks are like 10.0.0.0/8 or fd00::/8; names stand without a path.",
                ) from None
            names.append(plain.lower() if plain == "*" else plain.lower().lstrip("*."))
    return networks, [name for name in names if name]


def _variable(name: str) -> str:
    """Return how a variable is spelt in the environment; the lower case wins, as with curl and the library."""
    return name if os.environ.get(name) else name.upper()


def _authorities() -> ssl.SSLContext:
    """Return the trusted certificates; raises SettingsError for a variable that names none."""
    file, folders = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    if not file and not folders:
        return _usual_authorities()
    variable, value, why = "SSL_CERT_DIR", folders, "there is no such folder"
    if not folders or file or any(Path(one).is_dir() for one in folders.split(os.pathsep)):
        try:
            return httpx.create_ssl_context()
        except OSError as failure:  # ssl.SSLError is one
            is_empty = isinstance(failure, ssl.SSLError)
            why = "it holds no certificates" if is_empty else str(failure.strerror)
            variable, value = "SSL_CERT_FILE", file
    raise SettingsError(
        f"{variable} is `{(value or '')[:200]}`, which cannot be read: {why}",
        hint="It names the certificates that are trusted. Correct it, or take it away.",
    )


@cache  # 60 ms, and every client asks for them
def _usual_authorities() -> ssl.SSLContext:
    return httpx.create_ssl_context(trust_env=False)


class Visitor:
    """Follows URLs and their redirects without a key, to the internet and to networks `allowed`.

    `schemes` are those of the URLs that may take a proxy; `timeout` bounds a silence, in s.
    """

    def __init__(
        self,
        *,
        timeout: float,
        allowed: Iterable[Network],
        schemes: Collection[str] = ("https",),
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.way = EnvironmentTransport(schemes=schemes, allowed=allowed)
        self.http = httpx.AsyncClient(
            headers={"User-Agent": user_agent(), "Accept-Encoding": "identity"},
            follow_redirects=False,
            timeout=timeout,
            trust_env=False,
            transport=transport or self.way,
        )

    async def aclose(self) -> None:
        """Close every connection."""
        await self.http.aclose()

    @asynccontextmanager
    async def visit(
        self,
        target: httpx.URL,
        headers: Mapping[str, str],
        hop: Callable[[httpx.URL, str], httpx.URL],
    ) -> AsyncIterator[httpx.Response]:
        """Give the answer at the end of the redirects, its body unread; `hop` gets a URL and the `Location` there, or raises.

        httpx would read each redirect's body, however long. Raises what it raises, of which TooManyRedirects.
        """
        for _ in range(MAX_HOPS + 1):
            request = self.http.build_request("GET", target, headers=headers)
            response = await self.http.send(request, stream=True)
            try:
                if response.status_code not in _REDIRECTS:
                    yield response
                    return
                target = hop(target, response.headers.get("Location", ""))
            finally:
                await response.aclose()
        raise httpx.TooManyRedirects(f"redirects more than {MAX_HOPS} times")


def part_announced(response: httpx.Response) -> tuple[int, int | None] | None:
    """Return where the body begins, and the bytes of the whole file (None: not said); None for an unknown part."""
    if response.status_code == 206:
        said = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        return said and (int(said[1]), None if said[2] == "*" else int(said[2]))
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if re.fullmatch("[0-9]{1,18}", length) else None


def may_visit(url: httpx.URL) -> bool:
    """Return whether a request may go there: https anywhere, plain http on this machine only."""
    if not url.host or "%" in url.host:  # httpx escapes what no host name may hold
        return False
    return url.scheme == "https" or (url.scheme == "http" and is_loopback(url.host))


@cache
def user_agent() -> str:
    """Return how this program names itself to servers."""
    try:
        return f"kling-reconciler/{metadata.version('kling-reconciler')}"
    except metadata.PackageNotFoundError:
        return "kling-reconciler/0"


async def read_bounded(response: httpx.Response) -> bytes:
    """Return the body, unpacked, or nothing when it is longer than `MAX_BODY` or in an encoding that was not asked for.

    httpx would unpack it without a bound: a few kB of `gzip, gzip` become gigabytes. Raises what httpx raises.
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
