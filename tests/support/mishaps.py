"""What can happen to the answer of a create, as rules of the simulator's fault plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LATE = 1.6
"""Real seconds: longer than a request may take under `project.QUICK`."""

CREATE_MISHAPS: Mapping[str, Mapping[str, Any]] = {
    "lost": {"drop": "after"},
    "never-arrived": {"drop": "before"},
    "late": {"delay_s": LATE},
    "cut": {"cut": 20},
    "stalled": {"stall": 20},
    "page-502": {"status": 502},
    "page-502-acted": {"status": 502, "acted": True},
    "error-500": {"status": 500},
    "error-500-acted": {"status": 500, "acted": True},
    "error-503-acted": {"status": 503, "acted": True},
    "error-504-acted": {"status": 504, "acted": True},
    "garbage": {"garbage": True, "acted": False},
    "garbage-acted": {"garbage": True, "acted": True},
    "error-in-200": {"error_in_200": 5000},
    "error-in-200-acted": {"error_in_200": 5002, "acted": True},
}
"""Each by name; what does not say otherwise happens after the request has acted (delays, cuts, `drop: after`)."""


def on_create(effect: Mapping[str, Any], *, of: str = "", first: int = 1) -> dict[str, Any]:
    """Return a rule for the first creates (of one id, when it is given)."""
    match = {"match": {"external_task_id": of}} if of else {}
    return {"endpoint": "create", "when": {"first": first}, "effect": dict(effect), **match}
