"""Which addresses a URL that somebody else chose may lead to, and connections to just those.

A name is looked up once, every address of it is checked, and one that was checked is what is connected to: a second
look-up might be answered otherwise. The TLS name and the Host header stay those of the URL.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Collection, Iterable
from typing import Final

import httpcore
import httpx

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

LOOPBACK: Final[tuple[Network, ...]] = tuple(map(ipaddress.ip_network, ("127.0.0.0/8", "::1")))
LOOK_UP: Final = 10.0  # s for a name, where nobody says less
SOON: Final = 3.0  # s for an address, while there is another to try
MOST_TRIED: Final = 4  # addresses of a name
_INTERNET: Final = ipaddress.ip_network("2000::/3")  # all of IPv6 that is given out (IANA)
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")  # an IPv4 address is its end (RFC 6052)
_WITHIN: Final = tuple(
    map(
        ipaddress.ip_network,
        (
            "192.0.0.0/24",  # special purposes; a cloud's metadata are at .192 (RFC 6890)
            "192.88.99.0/24",  # relays of 6to4
            "168.63.129.16",  # a cloud's agent of the host
            "2001::/23",  # Teredo, which wraps IPv4 addresses, and other special purposes
            "2002::/16",  # 6to4, which wraps them too
        ),
    )
)


class AddressRefused(httpx.ConnectError):
    """An address of the host is of this machine or of a private network; nothing was sent."""


class NameUnknown(httpx.ConnectError):
    """The name has no address here, or none in time; nothing was sent."""


class CheckedNetwork(httpcore.AsyncNetworkBackend):
    """Connects to addresses of the internet, and to the networks that the operator `allowed` besides.

    Raises AddressRefused, NameUnknown, and what httpcore raises for connections.
    """

    def __init__(self, allowed: Iterable[Network]) -> None:
        self._allowed = tuple(allowed)
        self._wire = httpcore.AnyIOBackend()
        self.inside: set[str] = set()
        """Hosts that may be asked and are not of the internet: what they say of themselves is nobody's business."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address that answers, of those that may all be asked; `timeout` is in s for each."""
        addresses = (await self.check(host, port, timeout))[:MOST_TRIED]
        for address in addresses[:-1]:
            try:
                soon = SOON if timeout is None else min(timeout, SOON)
                return await self._wire.connect_tcp(
                    str(address), port, soon, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return await self._wire.connect_tcp(
            str(addresses[-1]), port, timeout, local_address, socket_options
        )

    async def check(self, host: str, port: int, timeout: float | None = None) -> list[Address]:
        """Return the addresses of a host, each of which may be asked; `timeout` bounds the look-up, in s."""
        addresses = await _look_up(host, port, LOOK_UP if timeout is None else timeout)
        outside = [is_of_the_internet(address) for address in addresses]
        allowed = [is_within(address, self._allowed) for address in addresses]
        if not all(a or b for a, b in zip(outside, allowed, strict=True)):
            raise AddressRefused("the host is this machine, or in a private network")
        if not all(outside):
            self.inside.add(host)
        return addresses


def is_of_the_internet(address: Address) -> bool:
    """Whether an address is one that everybody can reach, and no machine of ours behind a firewall."""
    plain = _unwrapped(address)
    if is_within(plain, _WITHIN) or plain.is_multicast or not plain.is_global:
        return False
    if plain.version == 6 and plain not in _INTERNET:
        return False
    return not _is_of_this_machine(plain)


def is_within(address: Address, networks: Collection[Network]) -> bool:
    """Whether an address, or the IPv4 address that it stands for, is in one of these networks."""
    plain = _unwrapped(address)
    return any(plain in network or address in network for network in networks)


def _unwrapped(address: Address) -> Address:
    """Return the IPv4 address that one of IPv6 stands for, where it leads just there; the address itself otherwise."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped:
            return address.ipv4_mapped
        if address in _NAT64:
            return ipaddress.IPv4Address(address.packed[-4:])
    return address


def _is_of_this_machine(address: Address) -> bool:
    """Whether it is this machine's own, where no firewall looks; a datagram's socket is asked, and nothing is sent."""
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
    try:
        async with asyncio.timeout(timeout):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = [ipaddress.ip_address(place[0]) for *_, place in found]
    except (OSError, ValueError):  # TimeoutError and UnicodeError are among them
        raise NameUnknown("the host's name is not known here") from None
    if not addresses:
        raise NameUnknown("the host's name is not known here")
    return list(dict.fromkeys(addresses))
