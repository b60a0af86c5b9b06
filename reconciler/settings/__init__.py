"""Settings: the environment, `.env`, the operator's settings file, and what the folder may say. Read by `cli` alone.

In a settings file a setting has its environment name in lower case, without the `RECONCILER_` prefix:
`poll_interval = 5`, `kling_base_url = "…"`. `reconciler.toml` is one too, but all who commit to the folder write it:
each definition says what it may do there, and by default it may do nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import SecretStr, ValidationError

from reconciler.core.errors import SettingsError
from reconciler.settings import sources
from reconciler.settings.definitions import (
    AT_START,
    CLOUDS,
    FolderRule,
    Leave,
    Prices,
    Provenance,
    Settings,
    is_text,
    names_of,
    price_table,
    rule_of,
)

__all__ = ["DEFAULT", "Origin", "Settings", "changes", "load", "names_of", "origins"]

DEFAULT = "default"
_USERINFO = re.compile(r"//[^/@\s]*@")
_OPERATORS_PLACES = (
    "the environment, an `.env` that git does not track, or a settings file of yours "
    "(`--config FILE`, or `~/.config/reconciler/config.toml`)"
)


def load(root: Path, *, config: Path | None = None, again: Settings | None = None) -> Settings:
    """Read the settings for a root folder; `again` are those of the last time, for a second reading.

    `config` is the operator's settings file; None: the one in the user's configuration folder, if there is one.
    Raises SettingsError: a value, a name or a file is wrong, a file is gone, or the folder sets what it may not; names
    the setting, never a secret's value.
    """
    config = again.provenance.config if again else config
    if config is not None and again is None and not os.path.lexists(config):
        raise SettingsError(f"`{config}` does not exist", hint="Correct the path of --config.")
    operators = config or sources.users_file()
    files = sources.existing(root, operators)
    if again is not None and (gone := min(again.provenance.files - files, default=None)):
        hint = "Where nothing shall be set in it any more, leave an empty file."
        raise SettingsError(f"`{gone}` is gone", hint=hint)
    ours = [name for field in Settings.model_fields.values() for name in names_of(field)]
    by_operator, by_folder = sources.read(root, operators, ours, CLOUDS)
    settings = _with_folder(_parsed(by_operator), by_folder)
    settings._provenance = replace(settings.provenance, files=files, config=config)
    return settings if again is None else _kept_from(again, settings)


def _parsed(given: Mapping[str, sources.Given]) -> Settings:
    """Return the settings that are given, and the defaults; raises SettingsError for the first that is wrong."""
    _check_values(given)
    chosen = {name: one.value for name, one in given.items() if one.value != ""}
    try:
        settings = Settings.model_validate(chosen)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name, reason = str(first["loc"][0]), first["msg"].removeprefix("Value error, ")
        if name in Settings.model_fields:  # a default that is wrong beside another setting
            name = names_of(Settings.model_fields[name])[0]
        where = given[name].place if name in given else "the environment or `.env`"
        told = f"{name}: {reason[:1].lower()}{reason[1:]}"
        raise SettingsError(told, hint=f"Correct {name} in {where}.") from None
    except RecursionError:
        raise SettingsError("RECONCILER_PRICES: it is nested too deeply") from None
    settings._provenance = Provenance(given)
    return settings


def _check_values(given: Mapping[str, sources.Given]) -> None:
    """Raise SettingsError for contradictions, and for texts that are empty, quoted or hold another setting."""
    for field in Settings.model_fields.values():
        found = [given[name] for name in names_of(field) if name in given]
        chosen = [one for one in found if one.value != ""]
        if len(chosen) > 1 and chosen[0].value != chosen[1].value:
            first, second = chosen
            raise SettingsError(
                f"{first.name} ({first.place}) and {second.name} ({second.place}) are not the same",
                hint="They are two names of one setting: leave one of them out.",
            )
        for one in found:
            if isinstance(one.value, str):
                _check_text(one, one.value, may_be_empty=is_text(field))


def _check_text(one: sources.Given, text: str, *, may_be_empty: bool) -> None:
    if not text.strip() and not (may_be_empty and text == ""):
        hint = "Give it a value, or take it away."
        raise SettingsError(f"{one.name} is empty in {one.place}", hint=hint)
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'`":
        raise SettingsError(
            f"{one.name} has quotes around its value that are part of it, in {one.place}",
            hint="Take the quotes away; some tools hand them on (`docker run --env-file` is one).",
        )
    if sources.holds_another(text):
        hint = "Put each on a line of its own."
        raise SettingsError(f"{one.name} holds another setting in {one.place}", hint=hint)


def _with_folder(settings: Settings, by_folder: Mapping[str, sources.Given]) -> Settings:
    """Return the settings with those of `reconciler.toml`, each by the rule of its definition."""
    asked_for = [
        (attribute, field, by_folder[name])
        for attribute, field in Settings.model_fields.items()
        for name in names_of(field)
        if name in by_folder
    ]
    for _, field, one in asked_for:
        if rule_of(field).leave is Leave.NONE:
            raise SettingsError(
                f"{one.place} holds `{sources.key_of(one.name)}`, which is not for the folder to set: "
                "it would be in the hands of everybody who commits to it",
                hint=f"Take it out, and set {names_of(field)[0]} in {_OPERATORS_PLACES}.",
            )
    if not asked_for:
        return settings
    asked = _parsed(by_folder)
    values, given, overruled = dict[str, Any](), dict(settings.provenance.given), {}
    for attribute, field, one in asked_for:
        wish, operators = getattr(asked, attribute), getattr(settings, attribute)
        own = settings.source(*names_of(field))
        _check_limits(rule_of(field), wish, one)
        if attribute == "prices":
            wish, value = _raised(operators, wish, one)
            beside = DEFAULT if own is None else own.source
            said = replace(one, source=f"{beside}, raised in {sources.CONFIG_FILE}", at="")
        else:
            value = _allowed(rule_of(field).leave, operators, wish, is_default=own is None)
            said = one
        values[attribute] = value
        if value != operators:
            given[one.name] = said
        elif value != wish:
            overruled[one.name] = one
    settings = settings.model_copy(update=values)
    settings._provenance = Provenance(given, overruled)
    return settings


def _allowed(leave: Leave, operators: Any, wish: Any, *, is_default: bool) -> Any:
    match leave:
        case Leave.CHOOSE:
            return wish if is_default else operators
        case Leave.LOWER:
            return wish if operators is None else min(operators, wish)
        case _:
            return max(operators, wish)


def _check_limits(rule: FolderRule, asked: Any, one: sources.Given) -> None:
    least, most = rule.least, rule.most
    if (least is None or asked >= least) and (most is None or asked <= most):
        return
    bounds = [f"at least {least:g}"] if least is not None else []
    bounds += [f"at most {most:,.0f}"] if most is not None else []
    raise SettingsError(
        f"{one.place}: in `{sources.CONFIG_FILE}` `{sources.key_of(one.name)}` can be {' and '.join(bounds)}",
        hint=f"Correct it, or set {one.name} in {_OPERATORS_PLACES}.",
    )


def _raised(prices: Prices, asked: Prices, one: sources.Given) -> tuple[Prices, Prices]:
    """Return the prices that the folder asks for, and all prices, raised to those; it can add none."""
    written = price_table(one.value)  # without those that the default adds
    asked = {model: {mode: asked[model][mode] for mode in written[model]} for model in written}
    for model, modes in asked.items():
        if unknown := min(modes.keys() - prices.get(model, {}).keys(), default=None):
            raise SettingsError(
                f"{one.place} holds a price for `{model}` ({unknown}), which has none: the folder can raise prices "
                "and cannot make one, because caps count by it",
                hint=f"Set RECONCILER_PRICES in {_OPERATORS_PLACES}.",
            )
    raised = {model: {**modes} for model, modes in prices.items()}
    for model, modes in asked.items():
        for mode, price in modes.items():
            raised[model][mode] = max(price, raised[model][mode])
    return asked, raised


def _kept_from(before: Settings, after: Settings) -> Settings:
    """Return the settings of a second reading, with those of the first that a running program keeps."""
    changed = {
        attribute: names_of(field)
        for attribute, field in Settings.model_fields.items()
        if AT_START in field.metadata and getattr(before, attribute) != getattr(after, attribute)
    }
    moved = {name for known_as in changed.values() for name in known_as}
    given = {name: one for name, one in after.provenance.given.items() if name not in moved}
    given |= {name: one for name, one in before.provenance.given.items() if name in moved}
    kept = tuple(known_as[0] for known_as in changed.values())
    settings = after.model_copy(update={name: getattr(before, name) for name in changed})
    settings._provenance = replace(after.provenance, given=given, kept=kept)
    return settings


class Origin(NamedTuple):
    """One setting, for people: its name, value and source."""

    name: str
    said: str  # the value, never a secret
    source: str
    asked: str = ""  # what the folder asks for and does not get

    def __str__(self) -> str:
        beside = f"; {self.asked}" if self.asked else ""
        return f"{self.name} = {self.said} ({self.source}{beside})"


def origins(settings: Settings) -> dict[str, Origin]:
    """Return where every setting came from, by its attribute; secrets are never shown."""
    found, overruled = {}, settings.provenance.overruled
    for attribute, field in Settings.model_fields.items():
        known_as, said = names_of(field), _said(getattr(settings, attribute))
        vain = next((overruled[name] for name in known_as if name in overruled), None)
        asked = "" if vain is None else f"{vain.place} asks for {_said(vain.value)}"
        given = settings.source(*known_as)
        if given is None or given.value == "":
            found[attribute] = Origin(known_as[0], said, DEFAULT, asked)
        else:
            found[attribute] = Origin(given.name, said, given.source, asked)
    return found


def changes(before: Settings, after: Settings) -> list[str]:
    """Return what another reading of the settings changed, one line each."""
    old = origins(before)
    return [
        f"{new.name}: {old[attribute].said}, now {new.said} ({new.source})"
        for attribute, new in origins(after).items()
        if getattr(before, attribute) != getattr(after, attribute)
    ]


def _said(value: object) -> str:
    if value is None or value == "":
        return "not set"
    if isinstance(value, SecretStr):
        return "***"
    if isinstance(value, frozenset):
        return ", ".join(sorted(map(str, value)))
    if isinstance(value, dict):
        return "; ".join(f"{key} {_said(inner)}" for key, inner in value.items())
    return _USERINFO.sub("//***@", str(value))
