"""The kinds of generations, and their specs' fields. A new kind is a module like `motion_control`, listed in `KINDS`."""

import functools
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Protocol, cast

from pydantic import Field, create_model

from reconciler.core import motion_control
from reconciler.core.fields import Fields
from reconciler.core.media_rules import Input, Prices, Rate, Sent, Source

MOST_TAKES = 100
MOST_RETRIES = 10
MOST_RESULTS = 1000  # of one spec: a typing slip in a matrix must not become an order for thousands
NOT_MULTIPLIED = frozenset(
    {"kind", "takes", "matrix", "retries", "suspend", "prepare", "external_task_id"}
)
SCHEMA_KEY = "$schema"  # names the schema for editors, and means nothing
_NAMED = re.compile(r'\{"kind":"([^"]*)"')  # so every canonical JSON begins
_CUSTOM_ID = r"^[A-Za-z0-9._-]{1,64}$"  # pydantic searches: both anchors are needed


class Kind(Protocol):
    """What a kind's module has; `motion_control` documents each function."""

    NAME: str
    ENDPOINT: str
    FIELDS: type[Fields]
    INPUTS: tuple[Input, ...]
    UNITS_PER_SECOND: Prices
    LONGEST: Decimal
    LABELLED_AS_READ: frozenset[str]
    SCHEMA: Mapping[str, Any]

    def __hash__(self) -> int: ...
    def inputs(self, wish: Any) -> tuple[Input, ...]: ...  # noqa: D102
    def canonical(self, wish: Any, sources: Mapping[str, Source]) -> dict[str, Any]: ...  # noqa: D102
    def body(self, request: Mapping[str, Any], sent: Sent) -> dict[str, object]: ...  # noqa: D102
    def price(self, request: Mapping[str, Any]) -> Rate: ...  # noqa: D102
    def results(self, canonical_json: str) -> tuple[str, ...]: ...  # noqa: D102
    def conflicts(self, wish: Any, prices: Prices) -> Iterator[tuple[str, str, str]]: ...  # noqa: D102


DEFAULT: Kind = motion_control
KINDS: dict[str, Kind] = {DEFAULT.NAME: DEFAULT}


def kind_named(name: object) -> Kind:
    """Return the kind of this name, or the default, whose fields refuse an unknown name."""
    return KINDS.get(name, DEFAULT) if isinstance(name, str) else DEFAULT


def kind_behind(canonical: str) -> Kind:
    """Return the kind of a canonical JSON; the default where it names none."""
    found = _NAMED.match(canonical)
    return kind_named(found.group(1) if found else "")


def kinds_that_may_mean(request: Mapping[str, Any]) -> list[Kind]:
    """Return the kinds that a request without a name may have, first those whose inputs it has."""
    return sorted(
        KINDS.values(), key=lambda kind: any(one.name not in request for one in kind.INPUTS)
    )


def default_prices() -> Prices:
    """Return the prices that hold where no setting says more."""
    return {name: modes for kind in KINDS.values() for name, modes in kind.UNITS_PER_SECOND.items()}


def dearest() -> Decimal:
    """Return the units of the most expensive request known."""
    return max(
        kind.LONGEST * price
        for kind in KINDS.values()
        for modes in kind.UNITS_PER_SECOND.values()
        for price in modes.values()
    )


class Spec(Fields):
    """The fields of a spec that are the same for every kind."""

    if TYPE_CHECKING:  # each kind says these itself, where its keys have them
        kind: str
        callback_url: str

    takes: int = Field(1, ge=1, le=MOST_TAKES, description="How many independent results.")
    retries: int = Field(
        0,
        ge=0,
        le=MOST_RETRIES,
        description="New attempts allowed after the provider reports a failure.",
    )
    suspend: bool = Field(
        False, description="Buy nothing for this spec now; what is bought already goes on."
    )
    external_task_id: str = Field(
        "", pattern=_CUSTOM_ID, description="An id of your own, for a single generation."
    )
    matrix: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field(
        default_factory=dict, description="One generation for every combination of these values."
    )


@functools.cache
def spec_type(kind: Kind) -> type[Spec]:
    """Return the type of a spec of a kind."""
    said = f"A spec file: a request to the {kind.NAME} API and how many results are wanted."
    bases = cast("tuple[type[Spec], ...]", (Spec, kind.FIELDS))
    return create_model("Spec", __base__=bases, __doc__=said)


def keys_of(kind: Kind) -> tuple[str, ...]:
    """Return the keys of a spec of a kind."""
    return tuple(spec_type(kind).model_fields)


def schema() -> dict[str, Any]:
    """Return the JSON Schema of a spec, for editors."""
    one, *more = (_schema(kind) for kind in KINDS.values())
    version = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return {**version, **({"anyOf": [one, *more]} if more else one), "title": "reconciler spec"}


def _schema(kind: Kind) -> dict[str, Any]:
    document = spec_type(kind).model_json_schema()
    multiplied = {
        key: {"type": "array", "minItems": 1, "items": value}
        for key, value in document["properties"].items()
        if key not in NOT_MULTIPLIED
    }
    document["properties"]["matrix"] |= {"properties": multiplied, "additionalProperties": False}
    editors = {SCHEMA_KEY: {"type": "string", "description": "For editors; it means nothing."}}
    document["properties"] = {**editors, **document["properties"], **kind.SCHEMA}
    return document
