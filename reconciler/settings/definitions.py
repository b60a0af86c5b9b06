"""Every setting: its names, its default, which values it takes, and what the folder may do with it.

The people who commit to the folder are not the operator, who pays and owns the machine. So `reconciler.toml` may make the
program slower, more careful or dearer, and choose what decides neither money nor places. Hosts, keys, stores, paths,
and every setting without a rule are the operator's.

Annotations are no texts here, which pydantic would compile one by one at each start.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    AliasChoices,
    BeforeValidator,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationInfo,
)
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from reconciler.core.hosts import is_loopback
from reconciler.core.kinds import default_prices
from reconciler.core.spending import UnitPrice
from reconciler.core.states import Role
from reconciler.hosting.places import VARIABLES, place_of, public_base
from reconciler.notifications.notifier import Notice
from reconciler.settings.sources import Given

_LONGEST_PLACE = 4096  # characters of a path or a URL
_SHORTEST_TOKEN = 16  # characters; the page does not slow down guessing
_LONGEST_SIGNATURE = 7 * 86_400  # s; S3 and Google sign for no longer
_HOUR = 3600.0  # s; the longest wait that the folder can set
_MOST_AT_ONCE = 64  # tasks in flight; the most that the folder can allow
_LEAST_HISTORY = 31  # days: the history of a task is kept as long as the provider keeps the task
CLOUDS = frozenset(name for variables in VARIABLES.values() for name in variables)
AT_START = "at the start"  # marks a setting that a running program keeps: API, account, folders

Prices = dict[str, dict[str, Decimal]]


class Leave(StrEnum):
    """What the folder may do with a setting; the words are those of docs/settings.md."""

    NONE = "no"
    CHOOSE = "yes"  # where the operator says nothing
    LOWER = "lower"  # the smallest of all that is given holds
    RAISE = "higher"  # the largest holds, and a default is the operator's word


@dataclass(frozen=True, slots=True)
class FolderRule:
    """What the folder may do with a setting, and within which limits."""

    leave: Leave
    least: float | None = None
    most: float | None = None


def _sayable(units: Decimal) -> Decimal:
    """Return an amount; raises ValueError for one like `1e999999999`, which written out fills the memory."""
    if units and not -12 <= units.adjusted() <= 15:
        raise ValueError("it must be 0, or from 0.000000000001 to 1,000,000,000,000,000")
    return units or Decimal(0)


def _checked(check: Callable[[str], object]) -> AfterValidator:
    """Return a validator that calls `check`, which raises ValueError, unless the value is empty."""

    def validate(given: Any) -> Any:
        if given:
            check(given.get_secret_value() if isinstance(given, SecretStr) else str(given))
        return given

    return AfterValidator(validate)


def _usable(place: str) -> None:
    if "\0" in place or len(place) > _LONGEST_PLACE:
        raise ValueError("no path has a NUL in it, or more than 4,096 characters")


def _listed(given: object) -> object:
    """A list is written with commas in the environment, and as an array in a settings file."""
    if isinstance(given, str):
        return [word.strip() for word in given.split(",") if word.strip()]
    return given


def _networks(given: object) -> object:
    """Return networks; names are refused, because their owners could lead them anywhere."""
    words = given.replace(",", " ").split() if isinstance(given, str) else given
    if not isinstance(words, (list, tuple)):
        raise ValueError("it must be a list of networks")  # noqa: TRY004 - pydantic's own word
    try:
        return tuple(ip_network(str(word)) for word in words)
    except ValueError as error:
        raise ValueError(f"{error}; a network is like 10.20.0.0/16 or fd00::/8") from None


def _reachable(given: str) -> None:
    if not re.match(r"https?://[^\s/]+", given):
        raise ValueError("it must be an http(s) URL that leads to this program's `/callbacks`")


def _unguessable(given: str) -> None:
    if not re.fullmatch(rf"[!-~]{{{_SHORTEST_TOKEN},}}", given):
        raise ValueError(
            f"it must have at least {_SHORTEST_TOKEN} characters, ASCII and without spaces; "
            "`openssl rand -hex 24` makes one"
        )


def _signing(given: str) -> None:
    from reconciler.web.callbacks import signing_key  # needs a web framework

    signing_key(given)


def _public(given: str, info: ValidationInfo) -> str:
    if not given and info.data.get("media_store", "").startswith("file:"):
        raise ValueError("a folder needs the URL under which a web server publishes it")
    return public_base(given) if given else given


def _hostable(given: bool, info: ValidationInfo) -> bool:
    here = is_loopback(urlsplit(info.data.get("base_url", "")).hostname or "")
    if given and not info.data.get("media_store") and not here:
        raise ValueError("images can be hosted only where RECONCILER_MEDIA_STORE is set")
    return given


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return an object; raises ValueError for a name that is given twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name is given twice")
    return found


def price_table(given: object) -> Any:
    """Return prices as they were written: JSON in the environment, a table in a settings file."""
    if not isinstance(given, str):
        return given
    try:
        return json.loads(given, object_pairs_hook=_once)
    except ValueError:
        raise ValueError('it must be a JSON object, such as {"kling-v3": {"pro": 1.2}}') from None


def _letters(model: str) -> str:
    return re.sub(r"[^a-z0-9]", "", model.lower())


def _complete(given: Prices) -> Prices:
    """Return these prices and the observed ones of all other modes; raises ValueError for an unknown mode."""
    observed = default_prices()
    modes = {mode for prices in observed.values() for mode in prices}
    if unknown := {mode for prices in given.values() for mode in prices} - modes:
        raise ValueError(
            f"`{min(unknown)}` is not a mode; the modes are {', '.join(sorted(modes))}"
        )
    for model in given.keys() - observed.keys():
        meant = [known for known in observed if _letters(known) == _letters(model)]
        if meant:
            raise ValueError(f"`{model}` is not a model; it is called `{meant[0]}`")
    models = {*observed, *given}
    return {model: {**observed.get(model, {}), **given.get(model, {})} for model in models}


_LOWER, _RAISE, _CHOOSE = FolderRule(Leave.LOWER), FolderRule(Leave.RAISE), FolderRule(Leave.CHOOSE)
_Seconds = Annotated[float, Field(gt=0, le=86_400)]
_Units = Annotated[Decimal, Field(ge=0), AfterValidator(_sayable)]
_Place = Annotated[str, _checked(_usable)]
_Folder = Annotated[_Place, AT_START]
_Key = Annotated[SecretStr | None, AT_START]
_Network = IPv4Network | IPv6Network


def _key(name: str) -> Any:
    return Field(default=None, validation_alias=AliasChoices(f"KLING_{name}", f"KLINGAI_{name}"))


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where settings came from, by the names of settings."""

    given: Mapping[str, Given] = field(default_factory=dict)
    # settings of `reconciler.toml` that the operator's overrule
    overruled: Mapping[str, Given] = field(default_factory=dict)
    files: frozenset[str] = frozenset()  # the names of the settings files that existed
    config: Path | None = None  # the operator's settings file that was named with `--config`
    kept: tuple[str, ...] = ()  # changed since, and kept as at the start


class Settings(BaseSettings):
    """Every setting; see docs/settings.md for what each is for."""

    model_config = SettingsConfigDict(
        alias_generator=lambda name: f"RECONCILER_{name.upper()}",
        extra="ignore",
        hide_input_in_errors=True,
        validate_default=True,
    )
    _provenance: Provenance = PrivateAttr(default=Provenance())

    access_key: _Key = _key("ACCESS_KEY")
    secret_key: _Key = _key("SECRET_KEY")
    api_key: _Key = _key("API_KEY")
    webhook_secret: Annotated[_Key, _checked(_signing)] = Field(
        default=None, validation_alias="KLING_WEBHOOK_SECRET"
    )
    base_url: Annotated[str, _checked(lambda url: urlsplit(url).port), AT_START] = Field(
        default="https://api-singapore.klingai.com", validation_alias="KLING_BASE_URL"
    )
    specs_dir: _Folder = "specs"
    state_dir: _Folder = "state"
    database_url: Annotated[_Place | None, AT_START] = None
    max_concurrency: Annotated[
        Annotated[int, Field(ge=1, le=1000)] | None, FolderRule(Leave.LOWER, most=_MOST_AT_ONCE)
    ] = None
    poll_interval: Annotated[_Seconds, FolderRule(Leave.CHOOSE, least=0.5, most=_HOUR)] = 10.0
    absence_grace: Annotated[_Seconds, FolderRule(Leave.RAISE, most=_HOUR)] = 30.0
    request_timeout: _Seconds = 30.0
    max_result_bytes: Annotated[int, Field(ge=1_000_000, le=2**40)] = 256 * 1024**2
    allowed_networks: Annotated[tuple[_Network, ...], BeforeValidator(_networks)] = ()
    max_units_per_day: Annotated[_Units | None, _LOWER] = None
    max_units_per_run: Annotated[_Units | None, _LOWER] = None
    prices: Annotated[
        dict[str, dict[str, _Units]],
        BeforeValidator(price_table),
        AfterValidator(_complete),
        _RAISE,
    ] = {model: dict(modes) for model, modes in default_prices().items()}
    price_per_unit: Annotated[Decimal, Field(ge=0, max_digits=20)] | None = Field(
        default=None, validation_alias="RECONCILER_UNIT_PRICE"
    )
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = "USD"
    settle_seconds: Annotated[float, Field(ge=0, le=3600), _RAISE] = 2.0
    resync_seconds: Annotated[_Seconds, FolderRule(Leave.CHOOSE, least=10, most=_HOUR)] = 300.0
    require_committed: Annotated[bool, _RAISE] = False
    log_format: Annotated[Literal["console", "json"], _CHOOSE] = "console"
    log_file: Annotated[Path, _checked(_usable)] | None = None
    log_max_bytes: Annotated[int, Field(ge=10_000)] = 10_000_000
    history_days: Annotated[int, Field(ge=_LEAST_HISTORY)] = 400
    posters: Annotated[bool, _CHOOSE] = True
    contact_sheets: Annotated[bool, _CHOOSE] = False
    media_store: Annotated[str, _checked(place_of)] = ""
    media_public_url: Annotated[str, AfterValidator(_public)] = ""
    media_url_seconds: Annotated[int, Field(ge=600, le=_LONGEST_SIGNATURE)] = 86_400
    media_images: Annotated[bool, AfterValidator(_hostable)] = False
    callback_url: Annotated[str, _checked(_reachable)] = ""
    page_token: Annotated[SecretStr | None, _checked(_unguessable)] = None
    notify_urls: SecretStr | None = None
    notify_on: Annotated[frozenset[Notice], BeforeValidator(_listed)] = frozenset(Notice)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is the library's
        init_settings: PydanticBaseSettingsSource,
        *_others: PydanticBaseSettingsSource,
        **_named: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take only what `load` read: the library itself ignores what it cannot read."""
        return (init_settings,)

    @property
    def previews(self) -> frozenset[Role]:
        """The pictures that are made of a saved video."""
        wanted = {Role.POSTER: self.posters, Role.SHEET: self.contact_sheets}
        return frozenset(role for role, is_wanted in wanted.items() if is_wanted)

    @property
    def unit_price(self) -> UnitPrice | None:
        """What a unit costs, where the user said so."""
        price = self.price_per_unit
        return None if price is None else UnitPrice(price, self.currency)

    @property
    def is_simulated(self) -> bool:
        """Whether the API is on this machine: it is the simulator, which has a media store of its own."""
        return is_loopback(urlsplit(self.base_url).hostname or "")

    @property
    def provenance(self) -> Provenance:
        """Where the settings came from."""
        return self._provenance

    def secret_files(self) -> frozenset[str]:
        """Return the names of the files in which keys, tokens and the like stand."""
        fields = type(self).model_fields.values()
        secret = [one for one in fields if SecretStr in get_args(one.annotation)]
        names = {*CLOUDS, *(name for one in secret for name in names_of(one))}
        given = self._provenance.given
        return self._provenance.files & {given[name].source for name in given.keys() & names}

    def source(self, *names: str) -> Given | None:
        """Return what was written for a setting or a variable, by any of its names; None for a default."""
        return next((found for name in names if (found := self._provenance.given.get(name))), None)


def names_of(field: FieldInfo) -> list[str]:
    """Return the names of a setting, the one that is shown first."""
    alias = field.validation_alias
    choices = alias.choices if isinstance(alias, AliasChoices) else [alias]
    return list(map(str, choices))


def rule_of(field: FieldInfo) -> FolderRule:
    """Return what the folder may do with a setting."""
    given = (one for one in field.metadata if isinstance(one, FolderRule))
    return next(given, FolderRule(Leave.NONE))


def is_text(field: FieldInfo) -> bool:
    """Whether a setting is a text, so that an empty value is one."""
    kinds = [field.annotation, *get_args(field.annotation)]
    plain = {kind for one in kinds for kind in (one, *get_args(one)[:1])}  # of Annotated, too
    return not plain.isdisjoint({str, SecretStr, Path})
