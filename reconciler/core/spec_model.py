"""The keys of a spec, their types and limits, and their JSON Schema for editors."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from reconciler.core.motion_control import MotionControl

MOST_TAKES = 100
MOST_RETRIES = 10
MOST_RESULTS = 1000  # of one spec: a typing slip in a matrix must not become an order for thousands
NOT_MULTIPLIED = frozenset(
    {"kind", "takes", "matrix", "retries", "suspend", "prepare", "external_task_id"}
)

_CUSTOM_ID = r"^[A-Za-z0-9._-]{1,64}$"  # pydantic searches: both anchors are needed


class Spec(MotionControl):
    """A spec file: a request to the motion-control API and how many results are wanted."""

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


KEYS = tuple(Spec.model_fields)
SCHEMA_KEY = "$schema"  # names the schema for editors, and means nothing


def schema() -> dict[str, Any]:
    """Return the JSON Schema of a spec, for editors."""
    document = Spec.model_json_schema()
    multiplied = {
        key: {"type": "array", "minItems": 1, "items": value}
        for key, value in document["properties"].items()
        if key not in NOT_MULTIPLIED
    }
    document["properties"]["matrix"] |= {"properties": multiplied, "additionalProperties": False}
    document["properties"]["keep_original_sound"] = {
        "enum": ["yes", "no", True, False],
        "default": "yes",
    }
    document["properties"] = {
        SCHEMA_KEY: {"type": "string", "description": "For editors; it means nothing."},
        **document["properties"],
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **document,
        "title": "reconciler spec",
    }
