"""Fault plans as JSON: what a rule may say, and the sentence for one that says something else. Nothing fires here."""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.simulator.faults import (
    ACTIONS,
    ENDPOINTS,
    REPLACING,
    Effect,
    FaultPlan,
    Rule,
    Scalar,
    When,
)


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


def _rule(value: object) -> Rule:
    rule = _mapping(value, "a rule", {"endpoint", "when", "match", "effect"})
    endpoint = rule.get("endpoint", "*")
    if endpoint not in ENDPOINTS:
        raise PlanError(f"endpoint must be one of {', '.join(ENDPOINTS)}")
    match = _mapping(rule.get("match", {}), "match", {"external_task_id"})
    name = match.get("external_task_id")
    if name is not None and not isinstance(name, str):
        raise PlanError("match.external_task_id must be a string")
    return Rule(str(endpoint), name, _when(rule.get("when", {})), _effect(rule.get("effect")))


def _when(value: object) -> When:
    when = _mapping(value, "when", {"calls", "every", "first", "probability", "seed"})
    if len(when.keys() - {"seed"}) > 1:
        raise PlanError("when must hold one of calls, every, first, probability")
    calls = when.get("calls")
    if calls is not None and not isinstance(calls, list):
        raise PlanError("when.calls must be a list of numbers, counted from 1")
    return When(
        calls=None if calls is None else frozenset(_whole(call, "when.calls") for call in calls),
        every=_whole(when["every"], "when.every") if "every" in when else None,
        first=_whole(when["first"], "when.first") if "first" in when else None,
        probability=_number(when["probability"], "when.probability")
        if "probability" in when
        else None,
        seed=str(when.get("seed", "")),
    )


def _effect(value: object) -> Effect:
    modifiers = {"acted", "delay_s", "code", "message", "body"}
    effect = _mapping(value, "effect", modifiers | ACTIONS.keys())
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


def _number(value: object, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise PlanError(f"{what} must be a number that is not negative")
    return value
