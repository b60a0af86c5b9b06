"""Knobs by name: what a person may turn on a command line, and the sentence for a name or a value that is wrong."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from decimal import Decimal, InvalidOperation
from typing import Literal, get_args, get_origin, get_type_hints

from reconciler.simulator.config import SimulatorConfig
from reconciler.simulator.errors import TABLE
from reconciler.simulator.signing import webhook_key

NO_KNOBS = frozenset(
    {
        *("folder", "host", "port", "results_port", "speed", "concurrency", "render"),
        *("access_key", "secret_key", "api_key", "render_workers", "faults", "prices"),
    }
)
"""Fields that have an option of their own, that are no single value, or that are of no use on a command line."""
SHARES = frozenset({"callback_lost", "result_share"})
CODES = frozenset({"duplicate_code"})
SIGNED = frozenset({"clock_skew_s", "list_shift"})

LARGEST = 10**12
"""No knob goes further: seconds beyond it are no time any more."""

Number = int | float | Decimal
Value = str | Number

KINDS = {
    name: kind
    for name, kind in get_type_hints(SimulatorConfig).items()
    if name in {field.name for field in fields(SimulatorConfig)} - NO_KNOBS
}
"""The type of each knob's value."""


class KnobError(ValueError):
    """A knob that does not exist, or that cannot be turned so far."""


def parse_knobs(settings: Iterable[str]) -> dict[str, Value]:
    """Return the fields of `SimulatorConfig` in settings such as `query_lag_s=5`; the last one of a name counts.

    Raises `KnobError` with a sentence for a name that is no knob, or a value that it cannot have.
    """
    return dict(_knob(setting) for setting in settings)


def _knob(setting: str) -> tuple[str, Value]:
    name, equals, text = setting.partition("=")
    name = name.strip()
    if not equals:
        raise KnobError(f"`{setting}` is not KNOB=VALUE, such as query_lag_s=5")
    if name not in KINDS:
        close = difflib.get_close_matches(name, KINDS, 1)
        guess = f"; did you mean `{close[0]}`?" if close else ""
        raise KnobError(f"`{name}` is not a knob of the simulator{guess}")
    return name, _value(name, text.strip())


def _value(name: str, text: str) -> Value:
    kind = KINDS[name]
    if get_origin(kind) is Literal:
        return _choice(name, text, get_args(kind))
    if kind is str:
        return _TEXTS.get(name, _plain)(name, text)
    number = _number(name, text, float if kind is float else Decimal if kind is Decimal else int)
    if number < 0 and name not in SIGNED:
        raise KnobError(f"{name} must not be negative, and is {text}")
    if number > 1 and name in SHARES:
        raise KnobError(f"{name} is a share from 0 to 1, and is {text}")
    if name in CODES and number not in TABLE.keys() - {0}:
        raise KnobError(f"{name} must be an error code of the provider's table, and is {text}")
    return number


def _choice(name: str, text: str, allowed: tuple[str, ...]) -> str:
    if text not in allowed:
        raise KnobError(f"{name} must be one of {', '.join(allowed)}, and is `{text}`")
    return text


def _pattern(name: str, text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise KnobError(f"{name} is not a regular expression: {error}") from None
    return text


def _secret(name: str, text: str) -> str:
    try:
        webhook_key(text)
    except ValueError:
        raise KnobError(f"{name} must be `whsec_` and Base64, and is `{text}`") from None
    return text


def _plain(_: str, text: str) -> str:
    return text


_TEXTS: Mapping[str, Callable[[str, str], str]] = {
    "external_id_pattern": _pattern,
    "callback_secret": _secret,
}


def _number(name: str, text: str, kind: type[int] | type[float] | type[Decimal]) -> Number:
    what = "a whole number" if kind is int else "a number"
    try:
        number: Number = kind(text)
        # Neither an infinity nor what is no number at all passes here.
        in_range = -LARGEST < number < LARGEST
    except (ValueError, InvalidOperation):
        raise KnobError(f"{name} must be {what}, and is `{text}`") from None
    if not in_range:
        raise KnobError(f"{name} must be {what} below {LARGEST:.0e}, and is `{text}`")
    return number
