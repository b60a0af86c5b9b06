"""What one generation's entry in a receipt may say, as JSON holds it, and how an entry of ours is written.

Receipts come out of git, from anybody: nothing in one is believed before it was checked, and an output in one can
name a video beside the receipt and nothing else. A preview in one can name a picture there, and is passed over where
anything is wrong with it: no purchase depends on it.
"""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from math import isfinite
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    FailFast,
    Field,
    TypeAdapter,
    ValidationError,
)

from reconciler.core.moments import milliseconds
from reconciler.core.receipts import ReceiptEntry, ReceiptOutput
from reconciler.core.states import Role, Status

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = 253_402_300_799_999  # ms: the end of the year 9999
_DEEPEST_REQUEST = 20  # levels; the API's own has three
_OUTPUT_NAME = re.compile(r"[^./\\\x00-\x1f\x7f][^/\\\x00-\x1f\x7f]{0,250}\.mp4\Z")
_PREVIEW_NAME = re.compile(
    r"[^./\\\x00-\x1f\x7f][^/\\\x00-\x1f\x7f]{0,242}\.(poster|sheet)\.webp\Z"
)


def _output_name(name: str) -> str:
    if not _OUTPUT_NAME.match(name):
        raise ValueError("an output is the plain name of an .mp4 file beside the receipt")
    return name


def _preview_name(name: str) -> str:
    if not _PREVIEW_NAME.match(name):
        raise ValueError("a preview is the plain name of a picture of ours beside the receipt")
    return name


def _milliseconds(text: object) -> object:
    """Read an ISO-8601 time in UTC, not known where it cannot be; anything else is left to be refused."""
    if not isinstance(text, str) or not text.endswith("Z"):
        return text
    return (datetime.fromisoformat(text) - _EPOCH) // timedelta(milliseconds=1)


def _bounded(request: dict[str, Any]) -> dict[str, Any]:
    """Return a request that an identity can be computed of."""
    waiting: list[tuple[object, int]] = [(request, 1)]
    while waiting:
        value, depth = waiting.pop()
        if depth > _DEEPEST_REQUEST:
            raise ValueError("it is nested too deeply")
        if isinstance(value, float) and not isfinite(value):
            raise ValueError("a number in it is too large")
        if isinstance(value, dict | list):
            inner = value.values() if isinstance(value, dict) else value
            waiting += [(one, depth + 1) for one in inner]
    return request


_Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,128}$")]
_TASK_ID = r"^([A-Za-z0-9_-][A-Za-z0-9._-]{0,127})?$"  # empty where the provider never named one
_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Bytes = Annotated[int, Field(ge=0, lt=2**63)]
_Side = Annotated[int, Field(gt=0, lt=2**31)] | None
_Time = (
    Annotated[
        int,
        BeforeValidator(_milliseconds),
        Field(ge=0, le=_LATEST),
        AfterValidator(milliseconds),  # what was written down of a time that cannot be
    ]
    | None
)


class _Checked(BaseModel):
    model_config = ConfigDict(
        strict=True, frozen=True
    )  # unknown keys are a newer program's: passed over


class _Output(_Checked):
    path: Annotated[str, AfterValidator(_output_name)]
    role: Literal["video", "watermark"]
    sha256: _Sha256
    bytes: _Bytes
    duration: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None
    width: _Side = None
    height: _Side = None

    def value(self) -> ReceiptOutput:
        sides = self.width, self.height
        role = Role(self.role)
        return ReceiptOutput(self.path, role, self.sha256, self.bytes, self.duration, *sides)


class _Preview(_Checked):
    path: Annotated[str, AfterValidator(_preview_name)]
    role: Literal["poster", "sheet"]
    sha256: _Sha256
    bytes: _Bytes
    width: _Side = None
    height: _Side = None

    def value(self) -> ReceiptOutput:
        sides = self.width, self.height
        return ReceiptOutput(self.path, Role(self.role), self.sha256, self.bytes, None, *sides)


_PREVIEW = TypeAdapter(_Preview)


def _sound_previews(found: object) -> list[_Preview]:
    """Return those that are as they should be, the first of each role."""
    previews: dict[str, _Preview] = {}
    for item in found if isinstance(found, list) else ():
        with suppress(ValidationError):
            preview = _PREVIEW.validate_python(item)
            previews.setdefault(preview.role, preview)
    return list(previews.values())


class _Row(_Checked):
    external_task_id: _Id
    task_id: Annotated[str, Field(pattern=_TASK_ID)]
    label: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{0,255}$")]
    status: Annotated[
        str, Field(pattern="^(complete|failed|expired|submitted|processing|succeeded)$")
    ]
    request: Annotated[dict[str, Any], AfterValidator(_bounded)]
    outputs: Annotated[list[_Output], Field(max_length=len(Role))]
    previews: Annotated[list[_Preview], BeforeValidator(_sound_previews)] = []
    units: Annotated[str, Field(pattern=r"^[0-9]{1,20}(\.[0-9]{1,20})?$")] | None
    created_at: _Time
    finished_at: _Time
    current: bool = True

    def value(self) -> ReceiptEntry:
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        return ReceiptEntry(
            **fields
            | {
                "status": Status(self.status),
                "outputs": tuple(output.value() for output in self.outputs),
                "previews": tuple(preview.value() for preview in self.previews),
                "units": None if self.units is None else Decimal(self.units),
            }
        )


class Receipt(_Checked):
    """All of a file's entries; what else it holds is looked at by whoever reads files."""

    generations: Annotated[list[_Row], FailFast()]


def row_of(entry: ReceiptEntry) -> dict[str, Any]:
    """Return an entry as JSON holds it."""
    row: dict[str, Any] = {
        "external_task_id": entry.external_task_id,
        # One that no reader takes, this one included, would block every purchase; the id of ours finds the task too.
        "task_id": entry.task_id if re.fullmatch(_TASK_ID, entry.task_id) else "",
        "label": entry.label,
        "status": entry.status.value,
        "request": entry.request,
        "outputs": [_output(output) for output in entry.outputs],
        "units": None if entry.units is None else f"{entry.units:f}",
        "created_at": _iso(entry.created_at),
        "finished_at": _iso(entry.finished_at),
    }
    if entry.previews:
        row["previews"] = [_preview(preview) for preview in entry.previews]
    return row if entry.current else row | {"current": False}


def _output(output: ReceiptOutput) -> dict[str, Any]:
    return _preview(output) | {"duration": output.duration}


def _preview(output: ReceiptOutput) -> dict[str, Any]:
    row = {
        "path": output.path,
        "role": output.role.value,
        "sha256": output.sha256,
        "bytes": output.size,
    }
    sides = {"width": output.width, "height": output.height}
    return row | {name: side for name, side in sides.items() if side}  # 0 is no side


def _iso(milliseconds: int | None) -> str | None:
    """Return a time as ISO-8601 in UTC with milliseconds; what no calendar holds is not known."""
    if milliseconds is None or not 0 <= milliseconds <= _LATEST:
        return None
    moment = _EPOCH + timedelta(milliseconds=milliseconds)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{milliseconds % 1000:03d}Z"
