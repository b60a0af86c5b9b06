"""Tokens are checked as the provider documents it, by the provider's clock."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime

import jwt
import pytest

from tests.simulator.caller import TASKS, calling, order, token
from tests.support.simulator import Simulator, simulator


def refusal(sim: Simulator, authorization: str | None) -> tuple[int, int]:
    headers = {} if authorization is None else {"authorization": authorization}
    answer = sim.control.get(TASKS, headers=headers)
    return answer.status_code, answer.json()["code"]


def test_each_way_to_be_refused_has_its_code(sim: Simulator) -> None:
    """Missing is 1001, malformed 1002, somebody else's 1000, too early 1003, too late 1004; all are 401."""
    now = int(time.time())
    claims = {"iss": sim.config.access_key, "exp": now + 1800, "nbf": now - 5}
    secret = sim.config.secret_key
    cases = {
        None: 1001,
        "": 1001,
        token(sim): 1002,
        "Bearer": 1002,
        "Bearer x.y": 1002,
        "Bearer x.y.z": 1002,
        "Basic eDp5": 1002,
        f"Bearer {jwt.encode(claims, secret, 'HS256', headers={'kid': '1'})}": 1002,
        f"Bearer {jwt.encode(claims, secret * 2, 'HS512')}": 1002,
        f"Bearer {token(sim, exp=None)}": 1002,
        f"Bearer {token(sim, nbf=None)}": 1002,
        f"Bearer {token(sim, exp='soon')}": 1002,
        f"Bearer {jwt.encode(claims, secret[::-1], 'HS256')}": 1000,
        f"Bearer {token(sim, iss='somebody')}": 1000,
        f"Bearer {token(sim, nbf=now + 60)}": 1003,
        f"Bearer {token(sim, exp=now - 1)}": 1004,
    }
    for authorization, code in cases.items():
        assert refusal(sim, authorization) == (401, code), authorization
    assert refusal(sim, f"Bearer {token(sim)}") == (200, 0)


def test_a_static_key_is_accepted(sim: Simulator) -> None:
    """The key of a newer account goes into the header as it is."""
    assert refusal(sim, f"Bearer {sim.config.api_key}") == (200, 0)


def test_every_endpoint_wants_a_token(sim: Simulator) -> None:
    """Without one, nothing is answered, created or billed, and it is the first thing checked."""
    for method, path in (
        ("POST", TASKS),
        ("GET", f"{TASKS}/x"),
        ("GET", TASKS),
        ("GET", "/account/costs"),
    ):
        answer = sim.control.request(method, path)
        assert (answer.status_code, answer.json()["code"]) == (401, 1001)
    assert sim.billed() == {}


@pytest.mark.parametrize(("skew", "code"), [(-60, 1003), (3600, 1004)])
def test_the_provider_has_its_own_clock(skew: float, code: int) -> None:
    """A clock that is off refuses fresh tokens, says so in `Date`, and accepts a token that follows that date."""
    with simulator(clock_skew_s=skew) as sim, calling(sim) as api:
        answer = api.create(order())
        assert (answer.status_code, answer.json()["code"]) == (401, code)
        there = parsedate_to_datetime(answer.headers["date"]).timestamp()
        assert there - time.time() == pytest.approx(skew, abs=3)
        signed = token(sim, exp=int(there) + 1800, nbf=int(there) - 5)
        assert refusal(sim, f"Bearer {signed}") == (200, 0)
