"""What is signed: addresses of results, good until a virtual time, and callbacks."""

from __future__ import annotations

import base64
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


def webhook_key(secret: str) -> bytes:
    """Return the key in a webhook secret; raises ValueError for what is not Base64."""
    return base64.b64decode(secret.removeprefix("whsec_"), validate=True)


def webhook_headers(secret: str, name: str, sent_at: int, body: bytes) -> dict[str, str]:
    """Return the headers of a signed callback (documented: Standard Webhooks); `sent_at` is in seconds."""
    signed = f"{name}.{sent_at}.".encode() + body
    signature = base64.b64encode(hmac.digest(webhook_key(secret), signed, hashlib.sha256)).decode()
    return {
        "webhook-id": name,
        "webhook-timestamp": str(sent_at),
        "webhook-signature": f"v1,{signature}",
    }
