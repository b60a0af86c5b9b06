"""The fault plan: which answer goes wrong and how, as frozen values and pure matching. What that does is `delivery`'s.

A plan is a list of rules; the first rule that fires decides. Every rule counts the calls that it matches, from 1,
whether or not it fires, so that a plan gives the same faults for the same calls.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

ENDPOINTS = ("create", "query", "list", "costs", "result", "upload", "*")

STATES = ("none", "submitted", "processing", "succeed", "failed")
"""What the task asked about can be like when a call comes; `none`: there is none that the caller could see."""

Scalar = str | int | float | bool

ACTIONS: Mapping[str, tuple[type[str] | type[int] | type[float] | type[bool], ...]] = {
    "drop": (str,),
    "cut": (int, float),
    "stall": (int, float),
    "drip": (int,),
    "status": (int,),
    "refuse": (int,),
    "error_in_200": (int,),
    "garbage": (bool,),
    "redirect": (str, bool),
    "fail": (str,),
    "truncate": (int, float),
    "wrong_length": (int,),
    "wrong_bytes": (bool,),
    "ignore_range": (bool,),
}
"""What an effect can do, and the type of its value; a fraction is a share of the answer's body, 0.5 half of it."""

REPLACING = frozenset({"status", "refuse", "error_in_200", "redirect", "garbage"})
"""Actions that replace the answer. A rule may say whether the request has acted; all but garbage say no by default."""


@dataclass(frozen=True)
class Effect:
    """What happens to one call."""

    action: str
    """One of `ACTIONS`, or empty for a delay alone."""
    value: Scalar
    acted: bool
    """Whether the request acts before its answer is disturbed."""
    delay_s: float
    """Real seconds between acting and answering."""
    code: int
    """The code of an invented error envelope; 0 for the one that suits the status."""
    message: str
    body: str | None
    """The invented body itself; None for one that suits the status."""


@dataclass(frozen=True)
class When:
    """Which calls a rule counts, and which of those are hit, by their number from 1; an empty one hits all."""

    calls: frozenset[int] | None = None
    every: int | None = None
    first: int | None = None
    probability: float | None = None
    seed: str = ""
    state: frozenset[str] = frozenset()
    """States of the task asked about in which a call counts; empty for any, and for calls about no task."""
    from_s: float = 0.0
    """Real seconds since the plan was put in place, before which no call counts."""
    until_s: float | None = None
    """Real seconds from which on no call counts any more; None for never."""

    def covers(self, call: Call) -> bool:
        """Tell whether a call counts: whether it comes in time, and about a task in one of the states."""
        in_time = self.from_s <= call.age_s and (self.until_s is None or call.age_s < self.until_s)
        return in_time and (not self.state or call.state in self.state)

    def hits(self, number: int) -> bool:
        """Tell whether the call of this number is hit; a probability is drawn from the seed and the number."""
        if self.calls is not None:
            return number in self.calls
        if self.every is not None:
            return number % self.every == 0
        if self.first is not None:
            return number <= self.first
        if self.probability is not None:
            digest = hashlib.sha256(f"{self.seed}/{number}".encode()).digest()
            return int.from_bytes(digest[:8]) < self.probability * 2**64
        return True


@dataclass(frozen=True)
class Call:
    """One request, as far as rules can tell calls apart."""

    endpoint: str
    external_task_id: str
    """Of a create, the one in its body; of a query, the name asked for; of a result, its task's."""
    state: str = ""
    """One of `STATES`, of the task asked about; empty for a call that is about no single task."""
    age_s: float = 0.0
    """Real seconds since the plan was put in place."""


@dataclass(frozen=True)
class Rule:
    """One line of the plan, and how often it matched and fired."""

    endpoint: str
    external_task_id: str | None
    when: When
    effect: Effect
    matched: int = 0
    fired: int = 0

    def matches(self, call: Call) -> bool:
        """Tell whether the rule speaks about the call at all."""
        meant = self.external_task_id in {None, call.external_task_id}
        return meant and self.endpoint in {"*", call.endpoint} and self.when.covers(call)


@dataclass(frozen=True)
class FaultPlan:
    """Rules in the order in which they are tried."""

    rules: tuple[Rule, ...] = ()

    def on(self, call: Call) -> tuple[Effect | None, FaultPlan]:
        """Return what happens to a call, and the plan for the calls after it."""
        effect: Effect | None = None
        counted = []
        for rule in self.rules:
            if not rule.matches(call):
                counted.append(rule)
                continue
            number = rule.matched + 1
            fires = effect is None and rule.when.hits(number)
            effect = rule.effect if fires else effect
            counted.append(replace(rule, matched=number, fired=rule.fired + fires))
        return effect, FaultPlan(tuple(counted))
