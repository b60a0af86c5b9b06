"""Fault plans as JSON: what a rule may say, and the sentence for one that says something else. Nothing fires here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from reconciler.simulator.faults import (
    ACTIONS,
    ENDPOINTS,
    REPLACING,
    STATES,
    Effect,
    FaultPlan,
    Rule,
    Scalar,
    When,
)

WHICH = ("calls", "every", "first", "probability")
"""What `when` can say of a call's number; one of them at most."""
WHEN = (*WHICH, "seed", "state", "from_s", "until_s")
MODIFIERS = ("acted", "delay_s", "code", "message", "body")
"""What `effect` can hold beside its action."""
ABOUT_TASKS = ("create", "query", "result")
"""The endpoints whose calls are about one task, which has a state."""


class PlanError(ValueError):
    """A fault plan that says what no plan can say."""


def parse_plan(value: object) -> FaultPlan:
    """Return the plan in a JSON value; raises `PlanError` that says which rule is wrong and why."""
    if not isinstance(value, list):
        raise PlanError("a fault plan is a list of rules")
    rules = []
    for number, rule in enumerate(value):
        try:
            rules.append(_rule(rule))
        except PlanError as error:
            raise PlanError(f"rule {number}: {error}") from None
    return FaultPlan(tuple(rules))


def read_plan(path: Path) -> list[Mapping[str, object]]:
    """Return the rules in a JSON file, which are right; raises `PlanError` that names the file."""
    try:
        rules = json.loads(path.read_text(encoding="utf-8"))
        parse_plan(rules)
    except OSError as error:
        raise PlanError(f"{path} cannot be read: {error.strerror}") from None
    except PlanError as error:
        raise PlanError(f"{path}: {error}") from None
    except ValueError as error:
        raise PlanError(f"{path} is not JSON: {error}") from None
    return list(rules)


def read_rule(text: str) -> Mapping[str, object]:
    """Return one rule written as JSON, which is right; raises `PlanError`."""
    try:
        rule: Mapping[str, object] = json.loads(text)
    except ValueError as error:
        raise PlanError(f"a rule is a JSON object: {error}") from None
    _rule(rule)
    return rule


def _rule(value: object) -> Rule:
    rule = _mapping(value, "a rule", {"endpoint", "when", "match", "effect"})
    endpoint = rule.get("endpoint", "*")
    if endpoint not in ENDPOINTS:
        raise PlanError(f"endpoint must be one of {', '.join(ENDPOINTS)}")
    match = _mapping(rule.get("match", {}), "match", {"external_task_id"})
    name = match.get("external_task_id")
    if name is not None and not isinstance(name, str):
        raise PlanError("match.external_task_id must be a string")
    when = _when(rule.get("when", {}))
    if when.state and endpoint not in {"*", *ABOUT_TASKS}:
        raise PlanError(f"when.state goes with {', '.join(ABOUT_TASKS)}: calls about one task")
    return Rule(str(endpoint), name, when, _effect(rule.get("effect")))


def _when(value: object) -> When:
    when = _mapping(value, "when", set(WHEN))
    if len(when.keys() & set(WHICH)) > 1:
        raise PlanError(f"when must hold one of {', '.join(WHICH)}")
    calls = when.get("calls")
    if calls is not None and not isinstance(calls, list):
        raise PlanError("when.calls must be a list of numbers, counted from 1")
    return When(
        calls=None if calls is None else frozenset(_whole(call, "when.calls") for call in calls),
        every=_whole(when["every"], "when.every") if "every" in when else None,
        first=_whole(when["first"], "when.first") if "first" in when else None,
        probability=_share(when["probability"]) if "probability" in when else None,
        seed=str(when.get("seed", "")),
        state=_states(when.get("state", [])),
        **_window(when),
    )


def _states(value: object) -> frozenset[str]:
    states = value if isinstance(value, list) else [value]
    if not all(isinstance(state, str) and state in STATES for state in states):
        raise PlanError(f"when.state must be one of {', '.join(STATES)}, or a list of them")
    return frozenset(states)


def _window(when: Mapping[str, object]) -> dict[str, float]:
    names = [name for name in ("from_s", "until_s") if name in when]
    window = {name: _number(when[name], f"when.{name}") for name in names}
    if window.get("until_s", float("inf")) <= window.get("from_s", 0):
        raise PlanError("when.until_s must be later than when.from_s")
    return window


def _effect(value: object) -> Effect:
    effect = _mapping(value, "effect", set(MODIFIERS) | ACTIONS.keys())
    actions = effect.keys() & ACTIONS.keys()
    if len(actions) > 1 or not effect:
        raise PlanError(f"effect must hold delay_s or one of {', '.join(ACTIONS)}")
    action = next(iter(actions), "")
    what = _action_value(action, effect.get(action, ""))
    body = effect.get("body")
    return Effect(
        action=action,
        value=what,
        acted=_acted(action, what, effect.get("acted")),
        delay_s=_number(effect.get("delay_s", 0), "effect.delay_s"),
        code=int(_number(effect.get("code", 0), "effect.code")),
        message=str(effect.get("message", "")),
        body=None if body is None else str(body),
    )


def _acted(action: str, value: Scalar, said: object) -> bool:
    if said is None:
        return action not in REPLACING - {"garbage"} and value != "before"
    if not isinstance(said, bool) or action not in REPLACING:
        raise PlanError(
            f"effect.acted is true or false and goes with {', '.join(sorted(REPLACING))}"
        )
    return said


def _action_value(action: str, value: object) -> Scalar:
    if not action:
        return ""
    kinds = ACTIONS[action]
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise PlanError(f"effect.{action} must be {' or '.join(kind.__name__ for kind in kinds)}")
    if action == "drop" and value not in {"before", "after"}:
        raise PlanError("effect.drop must be before or after")
    if value is False:
        raise PlanError(f"effect.{action}: leave it out rather than say false")
    return _in_range(action, value)


def _in_range(action: str, value: Scalar) -> Scalar:
    if isinstance(value, float) and not 0 <= value <= 1:
        raise PlanError(f"effect.{action} is a number of bytes, or a share from 0.0 to 1.0")
    if isinstance(value, int) and value < 0:
        raise PlanError(f"effect.{action} must not be negative")
    if action == "drip" and value == 0:
        raise PlanError("effect.drip is a number of bytes per second; stall sends none")
    if action == "status" and not 200 <= int(value) <= 599:
        raise PlanError("effect.status must be an HTTP status from 200 to 599")
    return value


def _mapping(value: object, what: str, allowed: set[str]) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise PlanError(f"{what} must be an object")
    unknown = value.keys() - allowed
    if unknown:
        raise PlanError(f"{what} does not know {', '.join(sorted(map(str, unknown)))}")
    return value


def _whole(value: object, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise PlanError(f"{what} must be a whole number from 1")
    return value


def _share(value: object) -> float:
    number = _number(value, "when.probability")
    if number > 1:
        raise PlanError("when.probability must be a number from 0 to 1")
    return number


def _number(value: object, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise PlanError(f"{what} must be a number that is not negative")
    return value
