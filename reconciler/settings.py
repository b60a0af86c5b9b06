"""Settings: environment, then `.env`, then `reconciler.toml`. Read by the command line alone, handed down as values.

In `reconciler.toml` a setting has its environment name in lower case, without the `RECONCILER_` prefix:
`poll_interval = 5`, `kling_base_url = "…"`. Keys belong in the environment or in `.env`, which git ignores.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    AliasChoices,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from pydantic_settings import SettingsError as SourceError

from reconciler.core.errors import SettingsError
from reconciler.core.money import UnitPrice
from reconciler.core.motion_control import UNITS_PER_SECOND
from reconciler.core.states import Role
from reconciler.hosting.places import VARIABLES, is_loopback, place_of, public_base
from reconciler.workspace.files import open_plain

CONFIG_FILE = "reconciler.toml"
LARGEST_FILE = 1024 * 1024  # bytes of `.env` and of `reconciler.toml`
_LONGEST_PLACE = 4096  # characters of a path or a URL


def _sayable(units: Decimal) -> Decimal:
    """Return an amount that can be written out: `1e999999999` would fill the memory with zeros."""
    if units and not -12 <= units.adjusted() <= 15:  # far beyond what anybody pays, or counts
        raise ValueError("it must be 0, or from 0.000000000001 to 1,000,000,000,000,000")
    return units or Decimal(0)


def _usable(place: str | Path) -> str | Path:
    if "\0" in str(place) or len(str(place)) > _LONGEST_PLACE:
        raise ValueError("no path has a NUL in it, or more than 4,096 characters")
    return place


Seconds = Annotated[float, Field(gt=0, le=86_400)]
Units = Annotated[Decimal, Field(ge=0), AfterValidator(_sayable)]
Place = Annotated[str, AfterValidator(_usable)]
Notice = Literal["complete", "failed", "account", "cap"]
NOTICES: tuple[Notice, ...] = get_args(Notice)
LONGEST_SIGNATURE = 7 * 86_400  # s; S3 and Google sign for no longer
MINIMUM_HISTORY_DAYS = 31  # the history of a task is kept as long as the provider keeps the task


def _key(name: str) -> Any:
    return Field(default=None, validation_alias=AliasChoices(f"KLING_{name}", f"KLINGAI_{name}"))


def _own(name: str, default: Any) -> Any:
    return Field(default=default, validation_alias=f"RECONCILER_{name}", validate_default=True)


class Settings(BaseSettings):
    """Every setting; see docs/settings.md for what each is for."""

    model_config = SettingsConfigDict(
        extra="ignore", env_ignore_empty=True, hide_input_in_errors=True
    )

    access_key: SecretStr | None = _key("ACCESS_KEY")
    secret_key: SecretStr | None = _key("SECRET_KEY")
    api_key: SecretStr | None = _key("API_KEY")
    base_url: str = Field(
        default="https://api-singapore.klingai.com", validation_alias="KLING_BASE_URL"
    )
    specs_dir: Place = _own("SPECS_DIR", "specs")
    state_dir: Place = _own("STATE_DIR", "state")
    database_url: Place | None = _own("DATABASE_URL", None)
    max_concurrency: Annotated[int, Field(ge=1, le=1000)] | None = _own("MAX_CONCURRENCY", None)
    poll_interval: Seconds = _own("POLL_INTERVAL", 10.0)
    absence_grace: Seconds = _own("ABSENCE_GRACE", 30.0)
    request_timeout: Seconds = _own("REQUEST_TIMEOUT", 30.0)
    max_units_per_day: Units | None = _own("MAX_UNITS_PER_DAY", None)
    max_units_per_run: Units | None = _own("MAX_UNITS_PER_RUN", None)
    prices: dict[str, dict[str, Units]] = _own("PRICES", dict(UNITS_PER_SECOND))
    price_per_unit: Annotated[Decimal, Field(ge=0, max_digits=20)] | None = _own("UNIT_PRICE", None)
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = _own("CURRENCY", "USD")
    settle_seconds: Annotated[float, Field(ge=0, le=3600)] = _own("SETTLE_SECONDS", 2.0)
    resync_seconds: Seconds = _own("RESYNC_SECONDS", 300.0)
    require_committed: bool = _own("REQUIRE_COMMITTED", False)
    log_format: Literal["console", "json"] = _own("LOG_FORMAT", "console")
    log_file: Annotated[Path, AfterValidator(_usable)] | None = _own("LOG_FILE", None)
    log_max_bytes: Annotated[int, Field(ge=10_000)] = _own("LOG_MAX_BYTES", 10_000_000)
    history_days: Annotated[int, Field(ge=MINIMUM_HISTORY_DAYS)] = _own("HISTORY_DAYS", 400)
    posters: bool = _own("POSTERS", True)
    contact_sheets: bool = _own("CONTACT_SHEETS", False)
    media_store: str = _own("MEDIA_STORE", "")
    media_public_url: str = _own("MEDIA_PUBLIC_URL", "")
    media_url_seconds: Annotated[int, Field(ge=600, le=LONGEST_SIGNATURE)] = _own(
        "MEDIA_URL_SECONDS", 86_400
    )
    media_images: bool = _own("MEDIA_IMAGES", False)
    callback_url: str = _own("CALLBACK_URL", "")
    notify_urls: SecretStr | None = _own("NOTIFY_URLS", None)
    notify_on: Annotated[frozenset[Notice], NoDecode] = _own("NOTIFY_ON", frozenset(NOTICES))

    @field_validator("notify_on", mode="before")
    @classmethod
    def _listed(cls, given: object) -> object:
        """A list is written with commas in the environment, and as an array in `reconciler.toml`."""
        if isinstance(given, str):
            return [word.strip() for word in given.split(",") if word.strip()]
        return given

    @field_validator("callback_url")
    @classmethod
    def _reachable(cls, given: str) -> str:
        if given and not re.match(r"https?://[^\s/]+", given):
            raise ValueError("it must be an http(s) URL that leads to this program's `/callbacks`")
        return given

    @field_validator("media_store")
    @classmethod
    def _place(cls, given: str) -> str:
        if given:
            place_of(given)
        return given

    @field_validator("media_public_url")
    @classmethod
    def _readable(cls, given: str, info: ValidationInfo) -> str:
        if not given and info.data.get("media_store", "").startswith("file:"):
            raise ValueError("a folder needs the URL under which a web server publishes it")
        return public_base(given) if given else given

    @field_validator("media_images")
    @classmethod
    def _hostable(cls, given: bool, info: ValidationInfo) -> bool:
        here = is_loopback(urlsplit(info.data.get("base_url", "")).hostname or "")
        if given and not info.data.get("media_store") and not here:
            raise ValueError("images can be hosted only where RECONCILER_MEDIA_STORE is set")
        return given

    @field_validator("prices")
    @classmethod
    def _complete(cls, given: dict[str, dict[str, Decimal]]) -> dict[str, dict[str, Decimal]]:
        """A price that is not given stays the observed one."""
        models = {*UNITS_PER_SECOND, *given}
        return {
            model: {**UNITS_PER_SECOND.get(model, {}), **given.get(model, {})} for model in models
        }

    @property
    def previews(self) -> frozenset[Role]:
        """What is made of a saved video, and put beside it."""
        wanted = {Role.POSTER: self.posters, Role.SHEET: self.contact_sheets}
        return frozenset(role for role, is_wanted in wanted.items() if is_wanted)

    @property
    def unit_price(self) -> UnitPrice | None:
        """What a unit costs, where the user said so."""
        price = self.price_per_unit
        return None if price is None else UnitPrice(price, self.currency)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is the library's
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put the environment first, then `.env`, then what `load` read from the configuration file."""
        return env_settings, dotenv_settings, init_settings


def names() -> list[str]:
    """Return the environment name of every setting (the first, where there are two)."""
    return [_names(field)[0] for field in Settings.model_fields.values()]


def load(root: Path) -> Settings:
    """Read the settings that hold for a root folder.

    Raises:
        SettingsError: a value or a file is wrong; names the setting, never a secret's value.
    """
    configured = _read_file(root / CONFIG_FILE)
    _read_text(
        root / ".env", "It must be a text file in UTF-8."
    )  # before somebody waits for a FIFO
    try:
        return Settings(_env_file=root / ".env", _env_file_encoding="utf-8", **configured)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name, reason = str(first["loc"][0]), first["msg"].removeprefix("Value error, ")
        if name in Settings.model_fields:  # a default that is wrong beside another setting
            name = _names(Settings.model_fields[name])[0]
        where = "in the environment, `.env` or `reconciler.toml`"
        raise SettingsError(
            f"{name}: {reason[:1].lower()}{reason[1:]}", hint=f"Correct {name} {where}."
        ) from None
    except RecursionError:
        raise SettingsError("RECONCILER_PRICES: it is nested too deeply") from None
    except SourceError as error:
        if not isinstance(error.__cause__, ValueError):
            raise  # a reader that broke, and no value that is wrong
        raise SettingsError(  # a value that is no JSON
            f"a setting cannot be read: {error}", hint="RECONCILER_PRICES must be a JSON object."
        ) from None


def media_variables(root: Path, media_store: str) -> dict[str, tuple[str, str]]:
    """Return the variables of the media store's cloud, each with its value (a secret) and where that stands.

    They are the cloud's own names: the environment wins over `.env`, and `reconciler.toml` holds none.
    """
    beside = DotEnvSettingsSource(Settings, env_file=root / ".env").env_vars
    found = {}
    for name in VARIABLES[place_of(media_store).scheme] if media_store else ():
        if value := os.environ.get(name):
            found[name] = (value, "the environment")
        elif value := beside.get(name.lower()):
            found[name] = (value, ".env")
    return found


def _names(field: FieldInfo) -> list[str]:
    alias = field.validation_alias
    return (
        [str(choice) for choice in alias.choices]
        if isinstance(alias, AliasChoices)
        else [str(alias)]
    )


def _read_text(path: Path, hint: str) -> str:
    """Return the text of a settings file, "" where there is none; never waits, and never reads without end."""
    try:
        with open_plain(path) as file:
            data = file.read(LARGEST_FILE + 1)
        text = data[:LARGEST_FILE].decode("utf-8")
    except FileNotFoundError:
        return ""
    except (ValueError, OSError) as error:
        raise SettingsError(f"`{path.name}` cannot be read: {error}", hint=hint) from None
    if len(data) > LARGEST_FILE:
        raise SettingsError(f"`{path.name}` is larger than 1 MiB", hint=hint)
    return text


def _read_file(path: Path) -> dict[str, Any]:
    """Return `reconciler.toml` as the environment would name it."""
    hint = "It must be a TOML file."
    text = _read_text(path, hint)
    try:
        table: Mapping[str, Any] = tomllib.loads(text)
    except RecursionError:
        raise SettingsError(f"`{path.name}` is nested too deeply", hint=hint) from None
    except ValueError as error:  # also of a number that is longer than Python reads
        raise SettingsError(f"`{path.name}` cannot be read: {error}", hint=hint) from None
    allowed = {name.removeprefix("RECONCILER_").lower(): name for name in names()}
    for key in table:
        if key not in allowed:
            meant = difflib.get_close_matches(key, allowed, n=1)
            hint = (
                f"Did you mean `{meant[0]}`?"
                if meant
                else f"The settings are: {', '.join(sorted(allowed))}."
            )
            raise SettingsError(f"`{path.name}`: `{key}` is not a setting", hint=hint)
    return {allowed[key]: value for key, value in table.items()}
