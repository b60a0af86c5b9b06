"""The kinds of generations there are, and what a spec of each may say: its request, and how many results are wanted.

Whatever differs between kinds is asked of the kind; a new one is a module like `motion_control`, entered in `KINDS`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Set
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Protocol, cast

from pydantic import Field, create_model

from reconciler.core import motion_control
from reconciler.core.sources import Fields, Input, Source, whole_seconds

Prices = Mapping[str, Mapping[str, Decimal]]
"""Units per second of result, by model and mode."""
Rate = tuple[str, str, Decimal]
"""What a request is priced by: its model, its mode, and the seconds that it can last at most."""

MOST_TAKES = 100
MOST_RETRIES = 10
MOST_RESULTS = 1000  # of one spec: a typing slip in a matrix must not become an order for thousands
NOT_MULTIPLIED = frozenset(
    {"kind", "takes", "matrix", "retries", "suspend", "prepare", "external_task_id"}
)
SCHEMA_KEY = "$schema"  # names the schema for editors, and means nothing
_BEFORE_THE_NAME = '{"kind":"'  # so every canonical JSON begins
_LONGEST_NAME = 64
_CUSTOM_ID = r"^[A-Za-z0-9._-]{1,64}$"  # pydantic searches: both anchors are needed


class Kind(Protocol):
    """What a kind says; a module does. `motion_control` tells what each function returns."""

    def __hash__(self) -> int: ...
    @property
    def NAME(self) -> str: ...  # noqa: D102, N802
    @property
    def ENDPOINT(self) -> str: ...  # noqa: D102, N802
    @property
    def FIELDS(self) -> type[Fields]: ...  # noqa: D102, N802
    @property
    def INPUTS(self) -> tuple[Input, ...]: ...  # noqa: D102, N802
    @property
    def UNITS_PER_SECOND(self) -> Prices: ...  # noqa: D102, N802
    @property
    def LONGEST(self) -> Decimal: ...  # noqa: D102, N802
    @property
    def LABELLED_AS_READ(self) -> Set[str]: ...  # noqa: D102, N802
    @property
    def SCHEMA(self) -> Mapping[str, Any]: ...  # noqa: D102, N802

    def inputs(self, wish: Any) -> tuple[Input, ...]: ...  # noqa: D102
    def canonical(self, wish: Any, sources: Mapping[str, Source]) -> dict[str, Any]: ...  # noqa: D102
    def body(  # noqa: D102
        self, request: Mapping[str, Any], sent: Mapping[str, str | bytes]
    ) -> dict[str, object]: ...
    def price(self, request: Mapping[str, Any]) -> Rate: ...  # noqa: D102
    def results(self, canonical_json: str) -> tuple[str, ...]: ...  # noqa: D102
    def conflicts(self, wish: Any, prices: Prices) -> Iterator[tuple[str, str, str]]: ...  # noqa: D102


DEFAULT: Kind = motion_control
"""Meant where none is named."""
KINDS: dict[str, Kind] = {DEFAULT.NAME: DEFAULT}
"""By name."""


def kind_named(name: object) -> Kind:
    """Return the kind that a spec names; the default for a name that none has: its fields refuse it."""
    return KINDS.get(str(name), DEFAULT)


def kind_behind(canonical: str) -> Kind:
    """Return the kind of a generation, by its canonical JSON; the default for a text that names none."""
    begin = len(_BEFORE_THE_NAME)
    return kind_named(canonical[begin : begin + _LONGEST_NAME].partition('"')[0])


def kinds_that_may_mean(request: Mapping[str, Any]) -> list[Kind]:
    """Return the kinds that a request without a name may be of: those whose inputs it has, and after them the others."""
    return sorted(
        KINDS.values(), key=lambda kind: any(one.name not in request for one in kind.INPUTS)
    )


def default_prices() -> Prices:
    """Return what is known of prices where no setting says more."""
    return {
        model: modes for kind in KINDS.values() for model, modes in kind.UNITS_PER_SECOND.items()
    }


def dearest() -> Decimal:
    """Return the units that the dearest request known costs."""
    return max(
        kind.LONGEST * price
        for kind in KINDS.values()
        for modes in kind.UNITS_PER_SECOND.values()
        for price in modes.values()
    )


def estimate_units(rate: Rate, seconds: Decimal | None, prices: Prices) -> Decimal:
    """Return the units that a generation is expected to cost; the most it can, where the length is not known.

    Seconds are rounded to the nearest whole one before they are priced (documented, and observed).
    """
    model, mode, longest = rate
    length = longest if seconds is None else whole_seconds(seconds)
    dearest = max(
        (price for modes in prices.values() for price in modes.values()), default=Decimal(0)
    )
    return (prices.get(model, {}).get(mode, dearest) * length).quantize(Decimal("0.001"))


class Spec(Fields):
    """What a spec may say whatever its kind is."""

    if TYPE_CHECKING:  # each kind says these itself, where its keys have them
        kind: str
        callback_url: str

    takes: Annotated[
        int, Field(ge=1, le=MOST_TAKES, description="How many independent results.")
    ] = 1
    retries: Annotated[
        int,
        Field(
            ge=0,
            le=MOST_RETRIES,
            description="New attempts allowed after the provider reports a failure.",
        ),
    ] = 0
    suspend: Annotated[
        bool,
        Field(description="Buy nothing for this spec now; what is bought already goes on."),
    ] = False
    external_task_id: Annotated[
        str,
        Field(
            pattern=_CUSTOM_ID,
            description="An id of your own, for a single generation.",
        ),
    ] = ""
    matrix: Annotated[
        dict[str, Annotated[list[Any], Field(min_length=1)]],
        Field(description="One generation for every combination of these values."),
    ] = Field(default_factory=dict)


@functools.cache
def spec_type(kind: Kind) -> type[Spec]:
    """Return the type of a spec of a kind."""
    said = f"A spec file: a request to the {kind.NAME} API and how many results are wanted."
    bases = cast("tuple[type[Spec], ...]", (Spec, kind.FIELDS))
    return create_model("Spec", __base__=bases, __doc__=said)


def keys_of(kind: Kind) -> tuple[str, ...]:
    """Return the keys that a spec of a kind may have."""
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
