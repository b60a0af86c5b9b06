"""Tokens, the clock they are dated by, and where they may go."""

from __future__ import annotations

import base64
import json
import traceback
from email.utils import formatdate

import httpx
import jwt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reconciler.core.errors import SettingsError
from reconciler.kling.auth import Credentials, KlingAuth
from reconciler.kling.errors import AccountTrouble, NotSent

SECRET = "a-secret-that-nobody-may-ever-see"
PAIR = Credentials(access_key="access-key", secret_key=SECRET)
HOME = "https://api.example.com/base"


class Clock:
    def __init__(self, at: float) -> None:
        self.at = at

    def __call__(self) -> float:
        return self.at


class Provider:
    """Sends requests through the auth, against a server whose clock is `ahead` s ahead of ours."""

    def __init__(
        self, clock: Clock, *, ahead: float = 0, latency: float = 0, credentials: Credentials = PAIR
    ) -> None:
        self.clock, self.ahead, self.latency = clock, ahead, latency
        self.auth = KlingAuth(credentials, base=httpx.URL(HOME), now=clock)

    def ask(self, url: str = HOME + "/x", **headers: str) -> str:
        """Return the token that went out."""
        flow = self.auth.auth_flow(httpx.Request("GET", url))
        sent = next(flow).headers["Authorization"].removeprefix("Bearer ")
        self.clock.at += self.latency
        date = headers.get("date", formatdate(self.clock.at + self.ahead, usegmt=True))
        with pytest.raises(StopIteration):
            flow.send(httpx.Response(200, headers={"Date": date}))
        return sent

    def claims(self, token: str) -> dict[str, int]:
        claims: dict[str, int] = jwt.decode(
            token, SECRET, algorithms=["HS256"], options={"verify_exp": False, "verify_nbf": False}
        )
        return claims


def test_a_token_is_exactly_what_the_documents_show() -> None:
    """Header and claims hold the documented members and no more (D)."""
    provider = Provider(Clock(1_700_000_000.9))
    token = provider.ask()
    head = token.split(".")[0]
    header = json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    assert header == {"alg": "HS256", "typ": "JWT"}
    assert provider.claims(token) == {
        "iss": "access-key",
        "exp": 1_700_001_800,
        "nbf": 1_699_999_995,
    }


def test_a_token_is_reused_and_renewed_well_before_it_dies() -> None:
    """Twenty-four minutes share a token; at twenty-six there is a new one; a day never meets a dead one."""
    clock = Clock(1_700_000_000.0)
    provider = Provider(clock)
    first = provider.ask()
    clock.at += 24 * 60
    assert provider.ask() == first
    clock.at += 2 * 60
    assert provider.ask() != first
    for _ in range(24 * 60):
        clock.at += 60
        claims = provider.claims(provider.ask())
        assert claims["nbf"] <= clock.at <= claims["exp"] - 290


@pytest.mark.parametrize("jump", [-86_400, -60, 86_400])
def test_a_clock_that_jumps_gets_a_new_token(jump: int) -> None:
    """A token dated by a clock that was set since is not used again."""
    clock = Clock(1_700_000_000.0)
    provider = Provider(clock)
    first = provider.ask()
    clock.at += jump
    assert provider.ask() != first


SKEWS = [
    (0.0, 0.0, 0.0, "no skew"),
    (0.9, 0.0, 0.0, "a Date has whole seconds: less than one proves nothing"),
    (0.0, 20.0, 0.0, "a slow answer proves nothing"),
    (-600.0, 0.0, -600.0, "our clock is fast: 1003 without correction"),
    (3600.0, 0.0, 3600.0, "our clock is slow: 1004 without correction"),
    (3600.0, 4.0, 3600.0, "slow and far away"),
]


@pytest.mark.parametrize(("ahead", "latency", "expected", "reason"), SKEWS)
def test_the_clock_is_corrected_by_the_servers(
    ahead: float, latency: float, expected: float, reason: str
) -> None:
    """After one answer, tokens are valid by the server's clock, within what a Date header can tell."""
    provider = Provider(Clock(1_700_000_000.25), ahead=ahead, latency=latency)
    provider.ask()
    assert abs(provider.auth.skew - expected) <= 2 + latency / 2, reason
    if not expected:
        assert provider.auth.skew == 0, reason
    claims = provider.claims(provider.ask())
    server = provider.clock.at - latency + ahead
    assert claims["nbf"] <= server < claims["exp"] - 300, reason


@given(st.text(st.characters(max_codepoint=126, exclude_characters="\r\n\0")))
@example("Mon, 99 Foo 2024 00:00:00 GMT")
@example("Mon, 20 Nov 1995 19:12:08 +9999999999999999")
@example("Mon, 20 Nov 99999999 19:12:08 GMT")
@example("Mon, 01 Jan 0001 00:00:00 +2359")
def test_a_date_that_is_none_teaches_nothing(date: str) -> None:
    """A garbled Date header leaves the clock alone."""
    provider = Provider(Clock(1_700_000_000.0))
    provider.ask(date=date)
    assert provider.auth.skew == 0 or "Jan" in date


def test_a_wrong_date_does_not_last() -> None:
    """A proxy's clock that is years off is forgotten with the provider's next answer."""
    provider = Provider(Clock(1_700_000_000.0))
    provider.ask(date="Thu, 01 Jan 1970 00:00:00 GMT")
    assert provider.auth.skew < -1_000_000
    provider.ask()
    assert abs(provider.auth.skew) <= 2


STRANGERS = [
    ("https://cdn.example.com/x", "another host"),
    ("http://api.example.com/x", "the same host without TLS"),
    ("https://api.example.com:8443/x", "another port"),
    ("https://api.example.com.evil.test/x", "a longer name"),
]


@pytest.mark.parametrize(("url", "reason"), STRANGERS)
@pytest.mark.parametrize("credentials", [PAIR, Credentials(api_key=SECRET)])
def test_the_key_goes_to_the_api_and_nowhere_else(
    url: str, reason: str, credentials: Credentials
) -> None:
    """A request to any other origin is refused before it carries a token."""
    request = httpx.Request("GET", url)
    flow = KlingAuth(credentials, base=httpx.URL(HOME), now=Clock(0)).auth_flow(request)
    with pytest.raises(NotSent):
        next(flow)
    assert "Authorization" not in request.headers, reason


def test_a_static_key_goes_as_it_is() -> None:
    """An API key is sent unchanged (O) and there is nothing to sign again."""
    provider = Provider(
        Clock(0), credentials=Credentials(access_key="a", secret_key="b", api_key="static")
    )
    assert provider.ask() == "static"
    assert not provider.auth.renew()


BAD = [
    ({}, "nothing"),
    ({"access_key": "a"}, "half a pair"),
    ({"secret_key": SECRET}, "the other half"),
    ({"api_key": SECRET + "\r\nX: y"}, "a header injected"),
    ({"api_key": SECRET + "\n"}, "a line end from a file"),
    ({"access_key": "a", "secret_key": SECRET + " "}, "a space"),
    ({"access_key": "é", "secret_key": SECRET}, "not ASCII"),
]


@pytest.mark.parametrize(("keys", "reason"), BAD)
def test_unusable_keys_are_refused_without_being_shown(keys: dict[str, str], reason: str) -> None:
    """A key that could not be sent is an error of the settings that does not quote it."""
    with pytest.raises(SettingsError) as caught:
        Credentials(**keys)
    assert SECRET not in "".join(traceback.format_exception(caught.value)), reason


def test_secrets_are_in_no_repr_and_no_traceback() -> None:
    """Neither the keys nor a failed signature show the secret."""
    for credentials in (PAIR, Credentials(api_key=SECRET)):
        assert SECRET not in repr(credentials)
        assert SECRET not in f"{credentials}"
    pem = Credentials(access_key="a", secret_key="ssh-rsa" + SECRET)
    auth = KlingAuth(pem, base=httpx.URL(HOME), now=Clock(0))
    with pytest.raises(AccountTrouble) as caught:
        next(auth.auth_flow(httpx.Request("GET", HOME)))
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_an_answer_that_quotes_a_secret_is_redacted() -> None:
    """What the provider says of a token can be kept: the token is not in it."""
    provider = Provider(Clock(0))
    token = provider.ask()
    assert provider.auth.redact(f"bad {token} of {SECRET}".encode()) == b"bad *** of ***"


def test_a_token_of_an_earlier_process_is_redacted_and_nobody_elses() -> None:
    """A provider may quote a token that another process of ours signed; one in a URL of its own stays whole."""
    earlier, now = Provider(Clock(1000)), Provider(Clock(5000))
    old = earlier.ask()
    now.ask()
    foreign = old[:-5] + "AAAAA"
    said = now.auth.redact(f"{old} and https://r.example/v.mp4?token={foreign}".encode())
    assert said == f"*** and https://r.example/v.mp4?token={foreign}".encode()
