"""Settings: the environment, `.env`, the operator's settings file, and what the folder may say. Read by `cli` alone.

In a settings file a setting has its environment name in lower case, without the `RECONCILER_` prefix:
`poll_interval = 5`, `kling_base_url = "…"`. `reconciler.toml` is one too, but whoever commits to the folder writes it:
each definition says what it may do there (`settings/folder.py`), and without a word it is the operator's alone.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    AliasChoices,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from reconciler.core.errors import SettingsError
from reconciler.core.hosts import is_loopback
from reconciler.core.kinds import default_prices
from reconciler.core.money import UnitPrice
from reconciler.core.states import Role
from reconciler.hosting.places import VARIABLES, place_of, public_base
from reconciler.settings.folder import Folder, Leave, combined, leave_of, refuse_operators
from reconciler.settings.sources import (
    CONFIG_FILE,
    Given,
    existing,
    holds_another,
    read,
    users_file,
)
from reconciler.web.signatures import signing_key

_LONGEST_PLACE = 4096  # characters of a path or a URL
_SHORTEST_TOKEN = 16  # characters; the page does not slow down who guesses
_CLOUDS = frozenset(name for variables in VARIABLES.values() for name in variables)


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
Network = IPv4Network | IPv6Network
Notice = Literal["complete", "failed", "account", "cap"]
NOTICES: tuple[Notice, ...] = get_args(Notice)
LONGEST_SIGNATURE = 7 * 86_400  # s; S3 and Google sign for no longer
_HOUR = 3600.0  # s; no commit makes anybody wait for longer
_MOST_LEARNT = 64  # tasks in flight that the program would come to by itself
_LOWER, _RAISE, _CHOOSE = Folder(Leave.LOWER), Folder(Leave.RAISE), Folder(Leave.CHOOSE)
_AT_START = "at the start"
"""Marks a setting that a running program keeps: another API, account or state would make another program of it."""
MINIMUM_HISTORY_DAYS = 31  # the history of a task is kept as long as the provider keeps the task


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return an object whose names are given once each; raises ValueError otherwise."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name is given twice")
    return found


def _letters(model: str) -> str:
    return re.sub(r"[^a-z0-9]", "", model.lower())


_Key = Annotated[SecretStr | None, _AT_START]
_Folder = Annotated[Place, _AT_START]


def _key(name: str) -> Any:
    return Field(default=None, validation_alias=AliasChoices(f"KLING_{name}", f"KLINGAI_{name}"))


def _own(name: str, default: Any) -> Any:
    return Field(default=default, validation_alias=f"RECONCILER_{name}", validate_default=True)


class Settings(BaseSettings):
    """Every setting; see docs/settings.md for what each is for."""

    model_config = SettingsConfigDict(extra="ignore", hide_input_in_errors=True)
    _given: dict[str, Given] = PrivateAttr(default_factory=dict)
    _overruled: dict[str, Given] = PrivateAttr(default_factory=dict)
    _files: frozenset[str] = PrivateAttr(default=frozenset())
    _config: Path | None = PrivateAttr(default=None)
    _kept: tuple[str, ...] = PrivateAttr(default=())

    access_key: _Key = _key("ACCESS_KEY")
    secret_key: _Key = _key("SECRET_KEY")
    api_key: _Key = _key("API_KEY")
    webhook_secret: _Key = Field(default=None, validation_alias="KLING_WEBHOOK_SECRET")
    base_url: Annotated[str, _AT_START] = Field(
        default="https://api-singapore.klingai.com", validation_alias="KLING_BASE_URL"
    )
    specs_dir: _Folder = _own("SPECS_DIR", "specs")
    state_dir: _Folder = _own("STATE_DIR", "state")
    database_url: Annotated[Place | None, _AT_START] = _own("DATABASE_URL", None)
    max_concurrency: Annotated[
        Annotated[int, Field(ge=1, le=1000)] | None, Folder(Leave.LOWER, most=_MOST_LEARNT)
    ] = _own("MAX_CONCURRENCY", None)
    poll_interval: Annotated[Seconds, Folder(Leave.CHOOSE, least=0.5, most=_HOUR)] = _own(
        "POLL_INTERVAL", 10.0
    )
    absence_grace: Annotated[Seconds, Folder(Leave.RAISE, most=_HOUR)] = _own("ABSENCE_GRACE", 30.0)
    request_timeout: Seconds = _own("REQUEST_TIMEOUT", 30.0)
    max_result_bytes: Annotated[int, Field(ge=1_000_000, le=2**40)] = _own(
        "MAX_RESULT_BYTES", 256 * 1024**2
    )
    allowed_networks: tuple[Network, ...] = _own("ALLOWED_NETWORKS", ())
    max_units_per_day: Annotated[Units | None, _LOWER] = _own("MAX_UNITS_PER_DAY", None)
    max_units_per_run: Annotated[Units | None, _LOWER] = _own("MAX_UNITS_PER_RUN", None)
    prices: Annotated[dict[str, dict[str, Units]], _RAISE] = _own("PRICES", dict(default_prices()))
    price_per_unit: Annotated[Decimal, Field(ge=0, max_digits=20)] | None = _own("UNIT_PRICE", None)
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = _own("CURRENCY", "USD")
    settle_seconds: Annotated[float, Field(ge=0, le=3600), _RAISE] = _own("SETTLE_SECONDS", 2.0)
    resync_seconds: Annotated[Seconds, Folder(Leave.CHOOSE, least=10, most=_HOUR)] = _own(
        "RESYNC_SECONDS", 300.0
    )
    require_committed: Annotated[bool, _RAISE] = _own("REQUIRE_COMMITTED", False)
    log_format: Annotated[Literal["console", "json"], _CHOOSE] = _own("LOG_FORMAT", "console")
    log_file: Annotated[Path, AfterValidator(_usable)] | None = _own("LOG_FILE", None)
    log_max_bytes: Annotated[int, Field(ge=10_000)] = _own("LOG_MAX_BYTES", 10_000_000)
    history_days: Annotated[int, Field(ge=MINIMUM_HISTORY_DAYS)] = _own("HISTORY_DAYS", 400)
    posters: Annotated[bool, _CHOOSE] = _own("POSTERS", True)
    contact_sheets: Annotated[bool, _CHOOSE] = _own("CONTACT_SHEETS", False)
    media_store: str = _own("MEDIA_STORE", "")
    media_public_url: str = _own("MEDIA_PUBLIC_URL", "")
    media_url_seconds: Annotated[int, Field(ge=600, le=LONGEST_SIGNATURE)] = _own(
        "MEDIA_URL_SECONDS", 86_400
    )
    media_images: bool = _own("MEDIA_IMAGES", False)
    callback_url: str = _own("CALLBACK_URL", "")
    page_token: SecretStr | None = _own("PAGE_TOKEN", None)
    notify_urls: SecretStr | None = _own("NOTIFY_URLS", None)
    notify_on: frozenset[Notice] = _own("NOTIFY_ON", frozenset(NOTICES))

    @field_validator("notify_on", mode="before")
    @classmethod
    def _listed(cls, given: object) -> object:
        """A list is written with commas in the environment, and as an array in a settings file."""
        if isinstance(given, str):
            return [word.strip() for word in given.split(",") if word.strip()]
        return given

    @field_validator("allowed_networks", mode="before")
    @classmethod
    def _networks(cls, given: object) -> object:
        """Names are none: who answers for a name could lead it anywhere."""
        words = given.replace(",", " ").split() if isinstance(given, str) else given
        if not isinstance(words, (list, tuple)):
            raise ValueError("it must be a list of networks")  # noqa: TRY004 - pydantic's own word
        try:
            return tuple(ip_network(str(word)) for word in words)
        except ValueError as error:
            raise ValueError(f"{error}; a network is like 10.20.0.0/16 or fd00::/8") from None

    @field_validator("callback_url")
    @classmethod
    def _reachable(cls, given: str) -> str:
        if given and not re.match(r"https?://[^\s/]+", given):
            raise ValueError("it must be an http(s) URL that leads to this program's `/callbacks`")
        return given

    @field_validator("page_token")
    @classmethod
    def _secret(cls, given: SecretStr | None) -> SecretStr | None:
        if given and not re.fullmatch(rf"[!-~]{{{_SHORTEST_TOKEN},}}", given.get_secret_value()):
            raise ValueError(
                f"it must have at least {_SHORTEST_TOKEN} characters, ASCII and without spaces; "
                "`openssl rand -hex 24` makes one"
            )
        return given

    @field_validator("webhook_secret")
    @classmethod
    def _signs(cls, given: SecretStr | None) -> SecretStr | None:
        if given:
            signing_key(given.get_secret_value())
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

    @field_validator("base_url")
    @classmethod
    def _is_url(cls, given: str) -> str:
        urlsplit(given).port  # noqa: B018 - raises ValueError with the reason
        return given

    @field_validator("media_images")
    @classmethod
    def _hostable(cls, given: bool, info: ValidationInfo) -> bool:
        here = is_loopback(urlsplit(info.data.get("base_url", "")).hostname or "")
        if given and not info.data.get("media_store") and not here:
            raise ValueError("images can be hosted only where RECONCILER_MEDIA_STORE is set")
        return given

    @field_validator("prices", mode="before")
    @classmethod
    def _object(cls, given: object) -> object:
        """In the environment it is JSON, in a settings file a table."""
        if not isinstance(given, str):
            return given
        try:
            return json.loads(given, object_pairs_hook=_once)
        except ValueError:
            raise ValueError(
                'it must be a JSON object, such as {"kling-v3": {"pro": 1.2}}'
            ) from None

    @field_validator("prices")
    @classmethod
    def _complete(cls, given: dict[str, dict[str, Decimal]]) -> dict[str, dict[str, Decimal]]:
        """A price that is not given stays the observed one; one for a mode that is none would be no price at all."""
        known = default_prices()
        modes = {mode for prices in known.values() for mode in prices}
        if unknown := {mode for prices in given.values() for mode in prices} - modes:
            raise ValueError(
                f"`{min(unknown)}` is not a mode; the modes are {', '.join(sorted(modes))}"
            )
        for model in given.keys() - known.keys():
            meant = [name for name in known if _letters(name) == _letters(model)]
            if meant:
                raise ValueError(f"`{model}` is not a model; it is called `{meant[0]}`")
        return {
            model: {**known.get(model, {}), **given.get(model, {})} for model in {*known, *given}
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
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take what `load` read, and nothing else: the library passes over what it cannot read, and we may not."""
        return (init_settings,)

    @property
    def files(self) -> frozenset[str]:
        """The names of the files that there were."""
        return self._files

    @property
    def config(self) -> Path | None:
        """The operator's settings file that was named with `--config`."""
        return self._config

    @property
    def kept(self) -> tuple[str, ...]:
        """The names of settings that say something else by now, and hold as they were at the start."""
        return self._kept

    def secret_files(self) -> frozenset[str]:
        """Return the names of the files in which keys, tokens and the like stand."""
        secret = {
            name
            for field in type(self).model_fields.values()
            if SecretStr in get_args(field.annotation)
            for name in names_of(field)
        }
        given = (one for name, one in self._given.items() if name in secret | _CLOUDS)
        return frozenset(one.source for one in given) & self._files

    def source(self, *names: str) -> Given | None:
        """Return what was written for a setting or a variable, by any of its names; None for a default."""
        return next((self._given[name] for name in names if name in self._given), None)

    def overruled(self, *names: str) -> Given | None:
        """Return what `reconciler.toml` asks for, where the operator's word holds instead."""
        return next((self._overruled[name] for name in names if name in self._overruled), None)


def names() -> list[str]:
    """Return the environment name of every setting (the first, where there are two)."""
    return [names_of(field)[0] for field in Settings.model_fields.values()]


def names_of(field: FieldInfo) -> list[str]:
    """Return the names of a setting, the one that is shown first."""
    alias = field.validation_alias
    return (
        [str(choice) for choice in alias.choices]
        if isinstance(alias, AliasChoices)
        else [str(alias)]
    )


def load(root: Path, *, config: Path | None = None, again: Settings | None = None) -> Settings:
    """Read the settings that hold for a root folder; `again`, where they are read a second time.

    `config` is the operator's settings file; None: the one in the user's configuration folder, if there is one.

    Raises:
        SettingsError: a value, a name or a file is wrong, a file is gone that was there before, or a setting stands in
            the folder that is the operator's; names the setting, never a secret's value.
    """
    config = again.config if again else config
    if config is not None and again is None and not os.path.lexists(config):
        raise SettingsError(f"`{config}` does not exist", hint="Correct the path of --config.")
    operators = config or users_file()
    files = existing(root, operators)
    if again is not None and (gone := min(again.files - files, default=None)):
        raise SettingsError(
            f"`{gone}` is gone",
            hint="Where nothing shall be set in it any more, leave an empty file.",
        )
    fields = Settings.model_fields.values()
    ours = [name for field in fields for name in names_of(field)]
    written = read(root, operators, ours, _CLOUDS)
    settings = _parsed(written.by_operator)
    settings = _with_folder(settings, written.by_folder)
    settings._files, settings._config = files, config
    return settings if again is None else _kept_from(again, settings)


def _parsed(given: Mapping[str, Given]) -> Settings:
    """Return the settings that are given, and the defaults; raises SettingsError for the first that is wrong."""
    _check_values(given)
    wanted = {name: one.value for name, one in given.items() if one.value != ""}
    try:
        settings = Settings(**wanted)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name, reason = str(first["loc"][0]), first["msg"].removeprefix("Value error, ")
        if name in Settings.model_fields:  # a default that is wrong beside another setting
            name = names_of(Settings.model_fields[name])[0]
        where = given[name].place if name in given else "the environment or `.env`"
        raise SettingsError(
            f"{name}: {reason[:1].lower()}{reason[1:]}", hint=f"Correct {name} in {where}."
        ) from None
    except RecursionError:
        raise SettingsError("RECONCILER_PRICES: it is nested too deeply") from None
    settings._given = dict(given)
    return settings


def _with_folder(settings: Settings, by_folder: Mapping[str, Given]) -> Settings:
    """Return the settings that hold with what `reconciler.toml` says, each by the rule of its definition."""
    asked_for = {
        attribute: (field, by_folder[name])
        for attribute, field in Settings.model_fields.items()
        for name in names_of(field)
        if name in by_folder
    }
    for field, one in asked_for.values():
        refuse_operators(names_of(field)[0], one, leave_of(field))
    asked = _parsed(by_folder)
    values, given, overruled = dict[str, Any](), dict(settings._given), dict[str, Given]()
    for attribute, (field, one) in asked_for.items():
        wish, operators = getattr(asked, attribute), getattr(settings, attribute)
        if attribute == "prices":  # those that the default adds were not asked for
            written = Settings._object(one.value)
            assert isinstance(written, dict)
            wish = {
                model: {mode: wish[model][mode] for mode in written[model]} for model in written
            }
        own = settings.source(*names_of(field))
        name = names_of(field)[0]
        value = combined(leave_of(field), operators, wish, one, is_given=own is not None, name=name)
        values[attribute] = value
        if attribute == "prices" and value != operators:
            beside = "default" if own is None else own.source
            given[one.name] = replace(one, source=f"{beside}, raised in {CONFIG_FILE}", at="")
        elif value == wish and value != operators:
            given[one.name] = one
        elif value != wish:
            overruled[one.name] = one
    settings = settings.model_copy(update=values)
    settings._given, settings._overruled = given, overruled
    return settings


def _kept_from(before: Settings, after: Settings) -> Settings:
    """Return what was read a second time, but for what a running program keeps."""
    changed = {
        attribute: field
        for attribute, field in Settings.model_fields.items()
        if _AT_START in field.metadata and getattr(before, attribute) != getattr(after, attribute)
    }
    for field in changed.values():
        for name in names_of(field):
            after._given.pop(name, None)
            if (one := before.source(name)) is not None:
                after._given[name] = one
    settings = after.model_copy(update={name: getattr(before, name) for name in changed})
    settings._kept = tuple(names_of(field)[0] for field in changed.values())
    return settings


def _check_values(given: Mapping[str, Given]) -> None:
    """Refuse what does not say what its writer wanted."""
    for field in Settings.model_fields.values():
        chosen = [
            given[name] for name in names_of(field) if name in given and given[name].value != ""
        ]
        if len(chosen) > 1 and chosen[0].value != chosen[1].value:
            first, second = chosen
            raise SettingsError(
                f"{first.name} ({first.place}) and {second.name} ({second.place}) are not the same",
                hint="They are two names of one setting: leave one of them out.",
            )
        for name in names_of(field):
            if name in given:
                _check_value(given[name], may_be_empty=_is_text(field))


def _check_value(one: Given, *, may_be_empty: bool) -> None:
    if not isinstance(one.value, str):
        return
    if not one.value.strip() and not (may_be_empty and one.value == ""):
        raise SettingsError(
            f"{one.name} is empty in {one.place}", hint="Give it a value, or take it away."
        )
    if len(one.value) > 1 and one.value[0] == one.value[-1] and one.value[0] in "\"'`":
        raise SettingsError(
            f"{one.name} has quotes around its value that are part of it, in {one.place}",
            hint="Take the quotes away; some tools hand them on (`docker run --env-file` is one).",
        )
    if holds_another(one.value):
        raise SettingsError(
            f"{one.name} holds another setting in {one.place}",
            hint="Put each on a line of its own.",
        )


def _is_text(field: FieldInfo) -> bool:
    """Whether nothing at all can be a value: of a number, a choice or yes and no it cannot."""
    kinds = [field.annotation, *get_args(field.annotation)]
    plain = {
        kind for one in kinds for kind in (one, *get_args(one)[:1])
    }  # of what is annotated, too
    return not plain.isdisjoint({str, SecretStr, Path})
