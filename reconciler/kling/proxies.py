"""Which way a request takes out of this machine: the proxies and the authorities that its environment names.

httpx would read them itself, but knows no networks in `NO_PROXY`, and does not say which variable it cannot read.
"""

from __future__ import annotations

import ipaddress
import os
import re
import ssl
import urllib.request
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpcore
import httpx
import socksio

from reconciler.core.errors import SettingsError
from reconciler.core.hosts import is_loopback
from reconciler.kling.addresses import CheckedNetwork, NameUnknown, Network

_SCHEMES: Final = ("http", "https", "socks5", "socks5h")
_KINDS: Final = "http, https, socks5 and socks5h"


class EnvironmentTransport(httpx.AsyncBaseTransport):
    """Sends each request directly, or through the proxy that the environment names for it.

    With `allowed`, URLs may be of anybody's choosing: they lead to the internet and to these networks, and nowhere
    else. A proxy looks names up by itself, so what is behind one is refused where this machine can tell.

    Raises SettingsError, which names the variable, when one of `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`,
    `SSL_CERT_FILE` and `SSL_CERT_DIR` cannot be used. A password in one of them is never repeated.
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
        self._exceptions = _Exceptions.read() if proxies else _Exceptions()
        self._checked = None if allowed is None else CheckedNetwork(allowed)
        self._direct = _Direct(trust, limits, self._checked)
        self._through = {
            proxy: httpx.AsyncHTTPTransport(
                verify=trust, limits=limits, trust_env=False, proxy=proxy.parsed()
            )
            for proxy in set(proxies.values())
        }
        self._by_scheme = {scheme: self._through[proxy] for scheme, proxy in proxies.items()}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request its way; raises what httpx raises, AddressRefused and NameUnknown."""
        way: httpx.AsyncHTTPTransport = self._direct
        if self.takes_proxy(request.url):
            way = self._by_scheme[request.url.scheme]
            if self._checked is not None:
                with suppress(NameUnknown):  # the proxy may know it
                    await self._checked.check(*_place(request.url))
        try:
            return await way.handle_async_request(request)
        except (
            socksio.ProtocolError
        ) as failure:  # httpx does not translate it; no request has left yet
            raise httpx.ProxyError(
                f"what answers at the proxy speaks no SOCKS: {failure}"
            ) from None

    def takes_proxy(self, url: httpx.URL) -> bool:
        """Whether a request to this URL takes a proxy."""
        return url.scheme in self._by_scheme and not self._exceptions.hold(url)

    def leads_inside(self, url: httpx.URL) -> bool:
        """Whether this URL's host was found to be in a network that is allowed, and not of the internet."""
        return self._checked is not None and _place(url)[0] in self._checked.inside

    async def aclose(self) -> None:
        """Close every connection."""
        for transport in (self._direct, *self._through.values()):
            await transport.aclose()


class _Direct(httpx.AsyncHTTPTransport):
    """Connects by a network of ours; httpx takes none, so its pool is one that does."""

    def __init__(
        self, trust: ssl.SSLContext, limits: httpx.Limits, network: CheckedNetwork | None
    ) -> None:
        super().__init__(verify=trust, limits=limits, trust_env=False)
        if network is not None:
            self._pool = httpcore.AsyncConnectionPool(
                ssl_context=trust,
                max_connections=limits.max_connections,
                max_keepalive_connections=limits.max_keepalive_connections,
                keepalive_expiry=limits.keepalive_expiry,
                network_backend=network,
            )


def _place(url: httpx.URL) -> tuple[str, int]:
    """Return host and port as httpcore names them."""
    return url.raw_host.decode("ascii"), url.port or (443 if url.scheme == "https" else 80)


@dataclass(frozen=True, slots=True)
class _Proxy:
    """A proxy, as a variable names it."""

    variable: str
    url: str

    def parsed(self) -> httpx.Proxy:
        """Return it as httpx wants it; raises SettingsError for what is no proxy."""
        try:
            proxy = httpx.Proxy(self.url)
        except (ValueError, httpx.InvalidURL):
            proxy = None
        if proxy is None or proxy.url.scheme not in _SCHEMES or not proxy.url.host:
            raise SettingsError(
                f"{self.variable} is `{_without_password(self.url)}`, which names no proxy that can be used",
                hint=f"It is like http://proxy.example.com:3128; {_KINDS} proxies are supported.",
            )
        return proxy


@dataclass(frozen=True, slots=True)
class _Exceptions:
    """Where no proxy is used: this machine, and what `NO_PROXY` lists."""

    networks: tuple[Network, ...] = ()
    names: tuple[str, ...] = ()  # in lower case; those below each, too

    @classmethod
    def read(cls) -> _Exceptions:
        """Read the variable; raises SettingsError for an entry with a `/` that is no network."""
        networks, names = [], []
        for entry in re.split(r"[,\s]+", urllib.request.getproxies_environment().get("no", "")):
            plain = entry.rpartition("://")[2]
            try:
                bare = plain.replace("[", "").replace("]", "")
                networks.append(ipaddress.ip_network(bare, strict=False))
            except ValueError:
                if "/" in plain:
                    raise SettingsError(
                        f"{_variable('no_proxy')} holds `{entry[:80]}`, which is not a network",
                        hint="Networks are like 10.0.0.0/8 or fd00::/8; names stand without a path.",
                    ) from None
                names.append(plain.lower() if plain == "*" else plain.lower().lstrip("*."))
        return cls(tuple(networks), tuple(filter(None, names)))

    def hold(self, url: httpx.URL) -> bool:
        """Whether a request to this URL takes no proxy."""
        host, place = url.raw_host.decode("ascii"), url.netloc.decode("ascii")
        if is_loopback(host) or urllib.request.proxy_bypass(place):  # the system's list, too
            return True
        if any(one in {"*", host, place} or host.endswith(f".{one}") for one in self.names):
            return True
        try:
            address = ipaddress.ip_address(url.host)
        except ValueError:
            return False
        return any(address in network for network in self.networks)


def _proxy(scheme: str) -> _Proxy | None:
    known = urllib.request.getproxies()
    for name in (scheme, "all"):
        if url := known.get(name, "").strip():
            return _Proxy(_variable(f"{name}_proxy"), url if "://" in url else f"http://{url}")
    return None


def _variable(name: str) -> str:
    """Return how a variable is spelt in the environment; the lower case wins, as with curl and the library."""
    return name if os.environ.get(name) else name.upper()


def _without_password(url: str) -> str:
    scheme, _, rest = url.rpartition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"[:80]


def _authorities() -> ssl.SSLContext:
    """Return whose certificates are believed."""
    file, folders = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    if folders and not file and not any(Path(one).is_dir() for one in folders.split(os.pathsep)):
        raise _no_authorities("SSL_CERT_DIR", folders, "there is no such folder")
    try:
        return httpx.create_ssl_context()
    except OSError as failure:  # ssl.SSLError is one
        why = "it holds no certificates" if isinstance(failure, ssl.SSLError) else failure.strerror
        raise _no_authorities("SSL_CERT_FILE", file or "", str(why)) from None


def _no_authorities(variable: str, value: str, why: str) -> SettingsError:
    return SettingsError(
        f"{variable} is `{value[:200]}`, which cannot be read: {why}",
        hint="It names the certificates that are trusted. Correct it, or take it away.",
    )
