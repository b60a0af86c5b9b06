"""Where each setting came from, for people; secrets are never shown."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

from pydantic import AliasChoices, SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import DotEnvSettingsSource, EnvSettingsSource

from reconciler.settings import CONFIG_FILE, Settings

ENVIRONMENT, ENV_FILE, DEFAULT = "the environment", ".env", "default"
_USERINFO = re.compile(r"//[^/@\s]*@")


@dataclass(frozen=True, slots=True)
class Origin:
    """One setting: its name there where it was found, what it says, and where that is."""

    name: str
    said: str  # never a secret
    source: str

    def __str__(self) -> str:
        return f"{self.name} = {self.said} ({self.source})"


def origins(root: Path, settings: Settings) -> list[Origin]:
    """Return every setting that holds for a root folder, in the order of the sources that win."""
    sources: list[tuple[str, Container[str]]] = [
        (ENVIRONMENT, EnvSettingsSource(Settings).env_vars),
        (ENV_FILE, DotEnvSettingsSource(Settings, env_file=root / ".env").env_vars),
        (CONFIG_FILE, _configured(root / CONFIG_FILE)),
    ]
    return [
        _origin(field, getattr(settings, attribute), sources)
        for attribute, field in Settings.model_fields.items()
    ]


def _origin(field: FieldInfo, value: object, sources: list[tuple[str, Container[str]]]) -> Origin:
    names = _names(field)
    for source, given in sources:
        for name in names:
            if name.lower() in given:  # the settings do not look at a name's case either
                return Origin(name, _said(value), source)
    return Origin(names[0], _said(value), DEFAULT)


def _names(field: FieldInfo) -> list[str]:
    alias = field.validation_alias
    return [str(one) for one in alias.choices] if isinstance(alias, AliasChoices) else [str(alias)]


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


def _configured(path: Path) -> set[str]:
    """Return the names that `reconciler.toml` sets, in lower case as the environment would have them."""
    try:
        keys = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return set()
    return {key for key in keys if key.startswith("kling")} | {
        f"reconciler_{key}" for key in keys if not key.startswith("kling")
    }
