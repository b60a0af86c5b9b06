"""The provider's keys, the tokens that they sign, and the provider's clock that dates these.

Nothing here shows a secret: not a repr, not an error, not a local variable of a frame that can fail.
"""

from __future__ import annotations

import hmac
import re
import warnings
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

import httpx
import jwt

from reconciler.core.errors import SettingsError
from reconciler.kling.errors import AccountTrouble, NotSent

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

LIFETIME: Final = 1800  # s, D
BACKDATED: Final = 5  # s, D
RENEW_BELOW: Final = 300  # s left to live: more than any request may take
TOLERATED: Final = 2  # s of skew that the backdating covers
_TOKEN: Final = re.compile(
    rb"(eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9\.[A-Za-z0-9_-]+)\.([A-Za-z0-9_-]{43})"
)
_PRINTABLE: Final = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """A pair of keys that signs tokens, or a static API key, which wins when both are there (O).

    Raises SettingsError, without the value, for a key that is missing or could not stand in a header.
    """

    access_key: str = ""
    secret_key: str = ""
    api_key: str = ""

    def __post_init__(self) -> None:
        if not self.api_key and not (self.access_key and self.secret_key):
            raise SettingsError(
                "There is no key for the API.",
                hint="Set KLING_ACCESS_KEY and KLING_SECRET_KEY, or KLING_API_KEY.",
            )
        for name in ("access_key", "secret_key", "api_key"):
            if getattr(self, name) and not _PRINTABLE.fullmatch(getattr(self, name)):
                said = f"The {name.replace('_', ' ')} holds spaces or characters that no key has."
                raise SettingsError(said)

    def __repr__(self) -> str:
        kind = "api_key" if self.api_key else f"access_key={self.access_key[:4]}…, secret_key"
        return f"Credentials({kind}=***)"


class KlingAuth(httpx.Auth):
    """Puts a live token on requests to one origin, and on no others. `now` returns seconds since the epoch.

    A token is HS256 with the header `{"alg": "HS256", "typ": "JWT"}` and the claims iss, exp and nbf (D). It is
    used until less than `RENEW_BELOW` of its life is left by the server's clock, as its Date headers tell it.
    """

    def __init__(
        self, credentials: Credentials, *, base: httpx.URL, now: Callable[[], float]
    ) -> None:
        self._credentials = credentials
        self._base = base
        self._now = now
        self.skew = 0.0
        """Seconds by which the server's clock is ahead of ours; 0 until its answers show otherwise."""
        self._token = ""
        self._not_before = 0

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Sign the request and learn the server's clock; raises NotSent rather than show the key to another host."""
        there, home = request.url, self._base
        if (there.scheme, there.host, there.port) != (home.scheme, home.host, home.port):
            raise NotSent("A request to another host than the API's was about to carry the key.")
        request.headers["Authorization"] = f"Bearer {self._bearer()}"
        sent = self._now()
        response = yield request
        self._learn(response.headers.get("Date", ""), sent, self._now())

    def renew(self) -> bool:
        """Forget the token, so that the next request is signed again; returns False when there is nothing to sign."""
        self._token = ""
        return not self._credentials.api_key

    def redact(self, body: bytes) -> bytes:
        """Return an answer without our secrets that it quotes, tokens that an earlier process signed among them."""
        body = _TOKEN.sub(self._hide, body)
        for secret in (self._token, self._credentials.secret_key, self._credentials.api_key):
            if secret:
                body = body.replace(secret.encode(), b"***")
        return body

    def _hide(self, found: re.Match[bytes]) -> bytes:
        """Return `***` for a token that our key signed, and any other token (of a URL, say) as it is."""
        signature = hmac.digest(self._credentials.secret_key.encode(), found[1], "sha256")
        return b"***" if urlsafe_b64encode(signature).rstrip(b"=") == found[2] else found[0]

    def _bearer(self) -> str:
        if self._credentials.api_key:
            return self._credentials.api_key
        server = self._now() + self.skew
        age = server - self._not_before
        if not self._token or not 0 <= age <= BACKDATED + LIFETIME - RENEW_BELOW:
            self._not_before = int(server) - BACKDATED
            self._token = self._sign(self._not_before)
        return self._token

    def _sign(self, not_before: int) -> str:
        claims = {
            "iss": self._credentials.access_key,
            "exp": not_before + BACKDATED + LIFETIME,
            "nbf": not_before,
        }
        with warnings.catch_warnings():
            # PyJWT warns of short keys; the provider chose the length.
            warnings.simplefilter("ignore")
            try:
                return jwt.encode(claims, self._credentials.secret_key, algorithm="HS256")
            except jwt.PyJWTError:
                said = "The secret key cannot sign tokens: it is a key of another kind."
                raise AccountTrouble(said) from None

    def _learn(self, date: str, sent: float, received: float) -> None:
        """Correct the clock when a Date header (whole seconds) contradicts it, however long the answer took."""
        try:
            moment = parsedate_to_datetime(date)
            stamp = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            return
        least, most = stamp - received, stamp + 1 - sent
        if least <= most and not least - TOLERATED <= self.skew <= most + TOLERATED:
            self.skew = (least + most) / 2
