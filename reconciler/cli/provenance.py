"""Where each setting came from, for people; secrets are never shown."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pydantic import SecretStr

from reconciler.settings import Settings, names_of

DEFAULT = "default"
_USERINFO = re.compile(r"//[^/@\s]*@")


@dataclass(frozen=True, slots=True)
class Origin:
    """One setting: its name there where it was found, what it says, and where that is."""

    name: str
    said: str  # never a secret
    source: str
    asked: str = ""  # for what the folder asks in vain

    def __str__(self) -> str:
        beside = f"; {self.asked}" if self.asked else ""
        return f"{self.name} = {self.said} ({self.source}{beside})"


def origins(settings: Settings) -> list[Origin]:
    """Return every setting, with where it came from."""
    return [
        _origin(names_of(field), getattr(settings, attribute), settings)
        for attribute, field in Settings.model_fields.items()
    ]


def changes(before: Settings, after: Settings) -> list[str]:
    """Return what another reading of the settings changed, one line each."""
    pairs = zip(origins(before), origins(after), strict=True)
    values = ((getattr(before, name), getattr(after, name)) for name in Settings.model_fields)
    return [
        f"{new.name}: {old.said}, now {new.said} ({new.source})"
        for (old, new), (was, now) in zip(pairs, values, strict=True)
        if was != now
    ]


def _origin(names: list[str], value: object, settings: Settings) -> Origin:
    given = settings.source(*names)
    overruled = settings.overruled(*names)
    asked = "" if overruled is None else f"{overruled.place} asks for {_said(overruled.value)}"
    if given is None or given.value == "":
        return Origin(names[0], _said(value), DEFAULT, asked)
    return Origin(given.name, _said(value), given.source, asked)


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
