"""What `reconciler.toml` may say. Whoever commits to the folder is not the operator, who pays and whose machine it is.

One rule: the folder may make the program slower, more careful or dearer, and choose what decides neither money nor
places. Hosts, keys, stores, paths, and all that nobody gave leave for, are the operator's. The rule of a setting stands
in its definition; a setting without one is the operator's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic.fields import FieldInfo

from reconciler.core.errors import SettingsError
from reconciler.settings.sources import CONFIG_FILE, Given

OPERATORS_PLACES = (
    "the environment, an `.env` that git does not track, or a settings file of yours "
    "(`--config FILE`, or `~/.config/reconciler/config.toml`)"
)


class Leave(StrEnum):
    """What the folder may do with a setting; the words are those of docs/settings.md."""

    NONE = "no"
    CHOOSE = "yes"  # where the operator says nothing
    LOWER = "lower"  # the smallest of all that is given holds
    RAISE = "higher"  # the largest holds, and a default is the operator's word


@dataclass(frozen=True, slots=True)
class Folder:
    """The leave that a setting's definition gives, and within which limits."""

    leave: Leave
    least: float | None = None
    most: float | None = None


OPERATOR = Folder(Leave.NONE)


def leave_of(field: FieldInfo) -> Folder:
    """Return what the folder may do with a setting."""
    return next((one for one in field.metadata if isinstance(one, Folder)), OPERATOR)


def refuse_operators(name: str, one: Given, folder: Folder) -> None:
    """Raise SettingsError where a setting that stands in `reconciler.toml` is the operator's."""
    if folder.leave is Leave.NONE:
        raise SettingsError(
            f"{one.place} holds `{one.key}`, which is not for the folder to set: "
            "it would be in the hands of everybody who commits to it",
            hint=f"Take it out, and set {name} in {OPERATORS_PLACES}.",
        )


def combined(
    folder: Folder, operators: Any, asked: Any, one: Given, *, is_given: bool, name: str
) -> Any:
    """Return the value that holds, of the operator's (`is_given`, or the default) and of what the folder asks for.

    Raises:
        SettingsError: the folder asks for what is not within its limits.
    """
    _check_limits(folder, asked, one, name)
    if folder.leave is Leave.CHOOSE:
        return operators if is_given else asked
    if folder.leave is Leave.LOWER:
        return asked if operators is None else min(operators, asked)
    if isinstance(operators, Mapping):
        return _raised(operators, asked, one)
    return max(operators, asked)


def _check_limits(folder: Folder, asked: Any, one: Given, name: str) -> None:
    least, most = folder.least, folder.most
    if (least is None or asked >= least) and (most is None or asked <= most):
        return
    bounds = [f"at least {least:g}"] if least is not None else []
    bounds += [f"at most {most:,.0f}"] if most is not None else []
    raise SettingsError(
        f"{one.place}: in `{CONFIG_FILE}` `{one.key}` can be {' and '.join(bounds)}",
        hint=f"Correct it, or set {name} in {OPERATORS_PLACES}.",
    )


def _raised(
    prices: Mapping[str, Mapping[str, Any]], asked: Mapping[str, Mapping[str, Any]], one: Given
) -> dict[str, dict[str, Any]]:
    """Return the prices with those that the folder has higher; of what has no price it cannot make one."""
    for model, modes in asked.items():
        if unknown := min(modes.keys() - prices.get(model, {}).keys(), default=None):
            raise SettingsError(
                f"{one.place} holds a price for `{model}` ({unknown}), which has none: the folder can raise prices "
                "and cannot make one, because caps count by it",
                hint=f"Set RECONCILER_PRICES in {OPERATORS_PLACES}.",
            )
    return {
        model: {
            mode: max(price, asked.get(model, {}).get(mode, price)) for mode, price in modes.items()
        }
        for model, modes in prices.items()
    }
