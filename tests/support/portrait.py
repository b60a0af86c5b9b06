"""A second kind, for a test alone: one picture in and no film, other names, another path of the API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Literal

from pydantic import Field

from reconciler.core.fields import Fields
from reconciler.core.media_rules import IMAGE, Input, Prices, Rate, Sent, Source

NAME = "portrait"
ENDPOINT = "/v1/images/portraits"
INPUTS: tuple[Input, ...] = (Input("face", IMAGE),)
UNITS_PER_SECOND: Prices = {"portrait-v1": {"std": Decimal(2)}}
LONGEST = Decimal(4)
LABELLED_AS_READ: frozenset[str] = frozenset()
SCHEMA: Mapping[str, Any] = {}


class Portrait(Fields):
    """What a spec of this kind may say."""

    kind: Literal["portrait"]
    face: str = Field(min_length=1)
    mood: str = "calm"
    callback_url: str = ""


FIELDS: type[Fields] = Portrait


def inputs(_: Portrait) -> tuple[Input, ...]:
    return INPUTS


def canonical(wish: Portrait, sources: Mapping[str, Source]) -> dict[str, Any]:
    return {"face": sources["face"].canonical(), "mood": wish.mood, "model_name": "portrait-v1"}


def body(request: Mapping[str, Any], sent: Sent) -> dict[str, object]:
    return {"model_name": request["model_name"], "mood": request["mood"], "face": sent["face"]}


def price(request: Mapping[str, Any]) -> Rate:
    return request["model_name"], "std", LONGEST


def results(_: str) -> tuple[str, ...]:
    return ("video",)


def conflicts(wish: Portrait, _: Prices) -> Iterator[tuple[str, str, str]]:
    if wish.mood == "none":
        yield "mood", "`mood` cannot be `none`", "calm"
