"""What can be wrong with single answers: fault plans, drawn so that no readable answer lies about a create.

A provider that says readably that it knows no such id, or that it created nothing, and is wrong, is outside of every
promise; so is one whose storage gives the same wrong bytes twice under a digest that names others.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

Effect = Mapping[str, Any]

_CREATE: tuple[Effect, ...] = (
    {"drop": "after"},
    {"drop": "before"},
    {"cut": 20},
    {"stall": 20},
    {"delay_s": 12.0},
    {"delay_s": 45.0},
    {"status": 500, "acted": False},
    {"status": 500, "acted": True},
    {"status": 502, "acted": True},
    {"status": 503, "acted": False},
    {"status": 504, "acted": True},
    {"status": 429},
    {"garbage": True, "acted": True},
    {"garbage": True, "acted": False},
    {"redirect": True, "acted": True},
    {"redirect": True},
    {"error_in_200": 5000, "acted": False},
    {"error_in_200": 5002, "acted": True},
    {"error_in_200": 1303},
    {"refuse": 1303},
    {"refuse": 1302},
    {"refuse": 1004},
    {"refuse": 1102},
    {"refuse": 1201},
    {"refuse": 1301},
    {"refuse": 1999},
    {"fail": "bad luck"},
    {"fail": "bad luck"},
    {"wrong_length": 7},
    {"truncate": 11},
)
_ASK: tuple[Effect, ...] = (
    {"drop": "after"},
    {"cut": 9},
    {"stall": 9},
    {"delay_s": 5.0},
    {"delay_s": 40.0},
    {"status": 500},
    {"status": 502},
    {"status": 401},
    {"garbage": True},
    {"redirect": True},
    {"error_in_200": 5001},
    {"refuse": 1302},
    {"refuse": 1003},
    {"refuse": 1101},
    {"wrong_length": 3},
    {"truncate": 30},
)
_RESULT: tuple[Effect, ...] = (
    {"drop": "after"},
    {"cut": 300},
    {"stall": 300},
    {"delay_s": 3.0},
    {"status": 403},
    {"status": 404},
    {"status": 503},
    {"truncate": 250},
    {"wrong_length": 12},
    {"ignore_range": True},
    {"redirect": True},
    {"garbage": True},
)
ENDPOINTS: Mapping[str, tuple[Effect, ...]] = {
    "create": _CREATE,
    "query": _ASK,
    "list": _ASK,
    "result": _RESULT,
}
ACCOUNT: Mapping[str, tuple[Mapping[str, Any], ...]] = {
    "1102": ({"endpoint": "create", "effect": {"refuse": 1102}},),
    "1101": ({"endpoint": "create", "effect": {"refuse": 1101}},),
    "1302": ({"endpoint": "create", "when": {"every": 2}, "effect": {"refuse": 1302}},),
    "1000": tuple(
        {"endpoint": endpoint, "effect": {"refuse": 1000}}
        for endpoint in ("create", "query", "list")
    ),
}
"""Trouble with the account, by its code: rules that go before all others while it lasts."""


def draw_faults(draw: random.Random) -> tuple[Mapping[str, Any], ...]:
    """Return a fault plan."""
    rules = [_rule(draw) for _ in range(draw.choices((0, 1, 3, 6), (1, 2, 4, 3))[0])]
    if draw.random() < 0.2:
        flip = {"when": {"calls": [draw.randint(1, 6)]}, "effect": {"wrong_bytes": True}}
        rules.append({"endpoint": "result", **flip})
    return tuple(rules)


def _rule(draw: random.Random) -> Mapping[str, Any]:
    endpoint = draw.choices(list(ENDPOINTS), (5, 3, 1, 3))[0]
    effect = draw.choice(ENDPOINTS[endpoint])
    when: Mapping[str, Any] = draw.choice(
        (
            {"calls": sorted(draw.sample(range(1, 9), 2))},
            {"every": draw.randint(2, 5)},
            {"first": draw.randint(1, 3)},
            {"probability": draw.choice((0.1, 0.3)), "seed": str(draw.random())},
        )
    )
    return {"endpoint": endpoint, "when": when, "effect": effect}
