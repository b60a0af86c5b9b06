"""Signed callbacks: what the webhook secret did not sign, or signed long ago, is refused before it is read."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import time
from pathlib import Path

import httpx
import pytest

from reconciler.core.errors import SettingsError
from reconciler.settings import load
from reconciler.web.callbacks import is_signed, signing_key
from reconciler.web.routes import status_app
from tests.web.standing import Standing
from tests.web.test_callbacks import CALLBACK

# The provider's own example (API: documented).
SECRET = "whsec_dGVzdHNlY3JldHRlc3RzZWNyZXR0ZXN0c2VjcmV0MTI="
SENT_AT = 1781080794
BODY = b'{"id":"1234567890","status":"succeeded","message":"","create_time":1781080778802,"update_time":1781080794151}'
SIGNATURE = "v1,UsKlJP00XoQyOn410NM9xv34sP+Gl0jnOO9Lcpr7NJ4="
HEADERS = {
    "webhook-id": "9876543210",
    "webhook-timestamp": str(SENT_AT),
    "webhook-signature": SIGNATURE,
}
OTHER = "v1," + base64.b64encode(b"0" * 32).decode()

CASES = [
    ({}, BODY, 0, True, "the provider's vector"),
    ({"webhook-signature": f"{OTHER} {SIGNATURE}"}, BODY, 0, True, "a secret is being rotated"),
    ({"webhook-signature": f"v1a,{OTHER[3:]} {SIGNATURE}"}, BODY, 0, True, "another scheme beside it"),
    ({}, BODY, 300, True, "five minutes old"),
    ({}, BODY, 301, False, "older"),
    ({}, BODY, -301, False, "from the future"),
    ({"webhook-signature": OTHER}, BODY, 0, False, "a wrong signature"),
    ({"webhook-signature": SIGNATURE[3:]}, BODY, 0, False, "without its version"),
    ({"webhook-signature": f"v2{SIGNATURE[2:]}"}, BODY, 0, False, "of another version"),
    ({"webhook-signature": ""}, BODY, 0, False, "an empty signature"),
    ({"webhook-signature": "v1,ü"}, BODY, 0, False, "no ASCII"),
    ({"webhook-signature": None}, BODY, 0, False, "no signature"),
    ({"webhook-id": None}, BODY, 0, False, "no id"),
    ({"webhook-id": "9876543211"}, BODY, 0, False, "another id"),
    ({"webhook-timestamp": None}, BODY, 0, False, "no time"),
    ({"webhook-timestamp": str(SENT_AT + 1)}, BODY, 0, False, "another time"),
    ({"webhook-timestamp": "9" * 5000}, BODY, 0, False, "a time without end"),
    ({"webhook-timestamp": "1e9"}, BODY, 0, False, "no time at all"),
    ({}, BODY + b" ", 0, False, "another body"),
]  # fmt: skip


@pytest.mark.parametrize(("changed", "body", "later", "genuine", "reason"), CASES)
def test_only_what_the_secret_signed_a_moment_ago_is_genuine(
    changed: dict[str, str | None], body: bytes, later: int, genuine: bool, reason: str
) -> None:
    """The provider's vector passes; whatever else is changed about it does not."""
    headers = {name: value for name, value in (HEADERS | changed).items() if value is not None}
    assert is_signed(signing_key(SECRET), headers, body, SENT_AT + later) is genuine, reason


def test_an_unsigned_callback_is_refused_and_hints_at_nothing() -> None:
    """With a secret: 204 for what it signed, however often it comes, and 401 for everything else."""
    hints: list[str] = []
    body, now = json.dumps(CALLBACK).encode(), str(int(time.time()))
    signed = hmac.digest(signing_key(SECRET), f"a.{now}.".encode() + body, "sha256")
    headers = {"webhook-id": "a", "webhook-timestamp": now}
    headers["webhook-signature"] = f"v1,{base64.b64encode(signed).decode()}"
    app = status_app(
        Standing().source, hints.append, allowed_hosts=(), signing_key=signing_key(SECRET)
    )

    async def run() -> list[int]:
        wire = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=wire, base_url="http://public.example") as client:
            tries = [(body, {}), (b"junk", {}), (body + b" ", headers), (body, headers), (body, headers)]  # fmt: skip
            answers = [
                await client.post("/callbacks", content=content, headers=given)
                for content, given in tries
            ]
            return [answer.status_code for answer in answers]

    assert asyncio.run(run()) == [401, 401, 401, 204, 204]
    assert hints == [CALLBACK["task_id"], "mc1-qxb3rggtdhpty43aoj27wuanuz"] * 2


@pytest.mark.parametrize("secret", ["whsec_", "whsec_not base64", "my-secret", "whsec_ä"])
def test_a_secret_that_is_none_is_an_error_that_does_not_repeat_it(
    secret: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A secret that was copied badly must not leave every callback refused, or none, without a word."""
    monkeypatch.setenv("KLING_WEBHOOK_SECRET", secret)
    with pytest.raises(SettingsError, match="KLING_WEBHOOK_SECRET") as caught:
        load(tmp_path)
    assert secret.removeprefix("whsec_") == "" or secret not in caught.value.message
