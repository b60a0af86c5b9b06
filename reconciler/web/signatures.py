"""Whether a callback was signed with the account's webhook secret: the Standard Webhooks scheme (API: documented).

A signature proves who sent it, not that it is new: what is sent again within the five minutes passes, and is a hint.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Mapping

TOLERATED_S = 300
"""How far a callback's time may be off, to either side (API: documented)."""
_PREFIX = "whsec_"
_TIME = re.compile(r"[0-9]{1,12}")


def signing_key(secret: str) -> bytes:
    """Return the key in a webhook secret, such as `whsec_dGVzd…`; raises ValueError that does not repeat it."""
    encoded = secret.strip().removeprefix(_PREFIX)
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not key:
        raise ValueError(
            "it must be the webhook secret of the provider's console: `whsec_` and Base64"
        )
    return key


def is_signed(key: bytes, headers: Mapping[str, str], body: bytes, now: float) -> bool:
    """Whether the body was signed with the key, and not long ago; `now` is in seconds since the epoch.

    While a secret is rotated the header holds several signatures, and one that fits is enough.
    """
    name, time = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not name or not _TIME.fullmatch(time) or abs(now - int(time)) > TOLERATED_S:
        return False
    digest = hmac.digest(key, f"{name}.{time}.".encode() + body, "sha256")
    wanted = b"v1," + base64.b64encode(digest)
    given = headers.get("webhook-signature", "").split()
    return any(hmac.compare_digest(one.encode(), wanted) for one in given)
