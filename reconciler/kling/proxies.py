"""Which way a request takes out of this machine: the proxies and the authorities that its environment names.

httpx would read them itself, but knows no networks in `NO_PROXY`, and does not say which variable it cannot read.
"""

from __future__ import annotations

import ipaddress
import os
import re
import ssl
import urllib.request
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import socksio

from reconciler.core.errors import SettingsError
from reconciler.kling.reach import is_loopback

_SCHEMES: Final = ("http", "https", "socks5", "socks5h")
_KINDS: Final = "http, https, socks5 and socks5h"
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class EnvironmentTransport(httpx.AsyncBaseTransport):
    """Sends each request directly, or through the proxy that the environment names for it.

    Raises SettingsError, which names the variable, when one of `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`,
    `SSL_CERT_FILE` and `SSL_CERT_DIR` cannot be used. A password in one of them is never repeated.
    """

    def __init__(
        self, limits: httpx.Limits | None = None, *, schemes: Collection[str] = ("https",)
    ) -> None:
        """`schemes` are those of the URLs that may take a proxy; what is set for others is not looked at."""
        limits = limits or httpx.Limits(max_connections=100, keepalive_expiry=5.0)
        trust = _authorities()
        proxies = {scheme: proxy for scheme in schemes if (proxy := _proxy(scheme))}
        self._exceptions = _Exceptions.read() if proxies else _Exceptions()
        self._direct = httpx.AsyncHTTPTransport(verify=trust, limits=limits, trust_env=False)
        self._through = {
            proxy: httpx.AsyncHTTPTransport(
                verify=trust, limits=limits, trust_env=False, proxy=proxy.parsed()
            )
            for proxy in set(proxies.values())
        }
        self._by_scheme = {scheme: self._through[proxy] for scheme, proxy in proxies.items()}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request its way; raises what httpx raises."""
        way = self._direct
        if self.takes_proxy(request.url):
            way = self._by_scheme[request.url.scheme]
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

    async def aclose(self) -> None:
        """Close every connection."""
        for transport in (self._direct, *self._through.values()):
            await transport.aclose()


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

    networks: tuple[_Network, ...] = ()
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
