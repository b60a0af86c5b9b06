"""Who asks: the check of the `Authorization` header, written out by hand from RFC 7519 and the provider's page."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from dataclasses import dataclass

from reconciler.simulator.errors import ApiError

HEADER = {"alg": "HS256", "typ": "JWT"}


@dataclass(frozen=True)
class Keys:
    """What the account may identify itself with."""

    access_key: str
    secret_key: str
    api_key: str


def authenticate(authorization: str | None, keys: Keys, now: float) -> None:
    """Return for a valid header, else raise `ApiError` with 1000 to 1004 (documented).

    `now` is the provider's time in seconds. 1000: signed by somebody else; 1001: nothing there; 1002: not a token
    of the documented form; 1003: `nbf` lies ahead; 1004: `exp` has passed. A static key is accepted as it is
    (observed).
    """
    if authorization is None or not authorization.strip():
        raise ApiError(1001)
    scheme, _, token = authorization.strip().partition(" ")
    if scheme != "Bearer" or not token:
        raise ApiError(1002, "Authorization: must be 'Bearer <token>'")
    if keys.api_key and hmac.compare_digest(token.encode(), keys.api_key.encode()):
        return
    claims = _verified_claims(token, keys.secret_key)
    if claims.get("iss") != keys.access_key:
        raise ApiError(1000, "iss: no such access key")
    if _seconds(claims, "nbf") > now:
        raise ApiError(1003, "nbf: the token is not valid yet")
    if _seconds(claims, "exp") <= now:
        raise ApiError(1004, "exp: the token has expired")


def _verified_claims(token: str, secret_key: str) -> dict[str, object]:
    parts = token.split(".")
    if len(parts) != 3:
        raise ApiError(1002, "Authorization: the token is not a JWT")
    if _json(parts[0]) != HEADER:
        raise ApiError(
            1002, f"Authorization: the token's header must be exactly {json.dumps(HEADER)}"
        )
    signed = f"{parts[0]}.{parts[1]}".encode()
    expected = hmac.digest(secret_key.encode(), signed, hashlib.sha256)
    if not hmac.compare_digest(_decoded(parts[2]), expected):
        raise ApiError(1000, "Authorization: the signature does not match")
    return _json(parts[1])


def _seconds(claims: dict[str, object], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ApiError(1002, f"{name}: a time in seconds is required")
    return value


def _json(part: str) -> dict[str, object]:
    try:
        value = json.loads(_decoded(part))
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ApiError(1002, "Authorization: the token is not a JWT")
    return value


def _decoded(part: str) -> bytes:
    try:
        return base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise ApiError(1002, "Authorization: the token is not a JWT") from None
