"""What the name or address of a host says: this machine, a private network, or the internet. No name is resolved."""

from __future__ import annotations

import ipaddress
import re
from typing import Final

_NEAR_BY_NAME: Final = re.compile(r"(.*\.)?(localhost|local|internal|lan|home\.arpa)")


def is_loopback(host: str) -> bool:
    """Whether a host is this machine: a loopback address, or `localhost`."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def is_near(host: str) -> bool:
    """Whether a host is this machine or in a private network."""
    try:
        return not ipaddress.ip_address(host.strip("[]")).is_global
    except ValueError:
        return "." not in host or _NEAR_BY_NAME.fullmatch(host.lower().rstrip(".")) is not None
