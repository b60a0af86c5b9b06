"""The types of a spec's fields: unknown keys are refused, seconds are exact. Pure.

Apart from `core.media_rules`, because processes that decode files need its limits and not pydantic. Where there are such
types, annotations are no texts, which pydantic would compile one by one at each start.
"""

from decimal import Decimal, InvalidOperation
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from reconciler.core.media_rules import Span, spoken

_MILLISECOND = Decimal("0.001")


def _seconds(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    try:
        return Decimal(str(value)).quantize(_MILLISECOND)
    except InvalidOperation:
        return value


_SECONDS_SCHEMA = WithJsonSchema({"type": "number", "minimum": 0, "maximum": 86_400})
_Seconds = Annotated[Decimal, BeforeValidator(_seconds), Field(ge=0, le=86_400), _SECONDS_SCHEMA]


class Fields(BaseModel):
    """Base of everything that a spec says: keys that are not known are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Trim(Fields):
    """Which part of the motion video is sent, in seconds from its beginning."""

    start: _Seconds = Decimal(0)
    end: Annotated[_Seconds | None, _SECONDS_SCHEMA] = None

    def canonical(self, span: Span) -> dict[str, str]:
        """Return the cut as it stands in the identity: without an end that is the longest length anyway."""
        longest = self.end is None or self.end - self.start == span.longest
        ends = {} if self.end is None or longest else {"end": spoken(self.end)}
        return ends | ({"start": spoken(self.start)} if self.start else {})
