"""Addresses of results that carry their own permission: signed, and good until a virtual time."""

from __future__ import annotations

import hashlib
import hmac


class Signer:
    """Signs paths for a while and checks them again."""

    def __init__(self, secret: bytes, origin: str) -> None:
        """`origin` is scheme, host and port of the server of results."""
        self._secret = secret
        self._origin = origin

    def url(self, path: str, expires: int) -> str:
        """Return the full address of `path`, good until `expires`, virtual ms."""
        return f"{self._origin}{path}?expires={expires}&signature={self._signature(path, expires)}"

    def permits(self, path: str, expires: str, signature: str, now: int) -> bool:
        """Tell whether the address was signed here and still holds at `now`, virtual ms."""
        if not (expires.isascii() and expires.isdigit() and len(expires) < 20):
            return False
        genuine = hmac.compare_digest(
            signature.encode(), self._signature(path, int(expires)).encode()
        )
        return genuine and now < int(expires)

    def _signature(self, path: str, expires: int) -> str:
        return hmac.new(self._secret, f"{path}\n{expires}".encode(), hashlib.sha256).hexdigest()
