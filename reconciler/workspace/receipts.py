"""Receipt files: bytes to entries and back, and writing them only when they change.

Receipts come out of git, from anybody: nothing in one is believed before it was checked, and an output in one can
name a video beside the receipt and nothing else. A preview in one can name a picture there, and is passed over where
anything is wrong with it: no purchase depends on it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
)

from reconciler.core.documents import Node, Place, Problem, find, plain
from reconciler.core.errors import SpecError
from reconciler.core.receipts import ReceiptEntry, ReceiptOutput
from reconciler.core.states import Role, Status
from reconciler.workspace.documents import DocumentError, parse
from reconciler.workspace.files import describe_os_error, open_plain, sync_folder, written_beside
from reconciler.workspace.json_reader import read_json
from reconciler.workspace.outputs import OutputTaken, signature
from reconciler.workspace.reading import Limits

SCHEMA = 1
LARGEST_RECEIPT = 64 * 1024 * 1024  # bytes
_MOST_VALUES = 5_000_000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = 253_402_300_799_999  # ms: the end of the year 9999
_OUTPUT_NAME = re.compile(r"[^./\\\x00-\x1f\x7f][^/\\\x00-\x1f\x7f]{0,250}\.mp4\Z")
_PREVIEW_NAME = re.compile(
    r"[^./\\\x00-\x1f\x7f][^/\\\x00-\x1f\x7f]{0,242}\.(poster|sheet)\.webp\Z"
)


class ReceiptError(SpecError):
    """A receipt cannot be read."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(
            str(problem), hint="Restore the file from git; what it records was paid for."
        )
        self.problem = problem


def _output_name(name: str) -> str:
    if not _OUTPUT_NAME.match(name):
        raise ValueError("an output is the plain name of an .mp4 file beside the receipt")
    return name


def _preview_name(name: str) -> str:
    if not _PREVIEW_NAME.match(name):
        raise ValueError("a preview is the plain name of a picture of ours beside the receipt")
    return name


def _milliseconds(text: object) -> object:
    """Read an ISO-8601 time in UTC; anything else is left to be refused."""
    if not isinstance(text, str) or not text.endswith("Z"):
        return text
    return (datetime.fromisoformat(text) - _EPOCH) // timedelta(milliseconds=1)


_Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,128}$")]
_TASK_ID = r"^([A-Za-z0-9_-][A-Za-z0-9._-]{0,127})?$"  # empty where the provider never named one
_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Bytes = Annotated[int, Field(ge=0, lt=2**63)]
_Side = Annotated[int, Field(gt=0, lt=2**31)] | None
_Time = Annotated[int, BeforeValidator(_milliseconds), Field(ge=0, le=_LATEST)] | None


_QUICK = 1024 * 1024  # bytes; a larger receipt is rare, and its limits are the other reader's


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
    status: Annotated[str, Field(pattern="^(complete|failed|expired)$")]
    request: dict[str, Any]
    outputs: list[_Output]
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


class _Receipt(_Checked):
    generations: list[_Row]


def parse_receipt(data: bytes, name: str) -> tuple[ReceiptEntry, ...]:
    """Return the entries of a receipt, as they stand; `name` is the file's name in places.

    Keys that are not known are passed over. Raises `ReceiptError` at the first thing that is wrong.
    """
    quick = _quickly(data)
    return _slowly(data, name) if quick is None else quick


def _quickly(data: bytes) -> tuple[ReceiptEntry, ...] | None:
    """Return the entries of a receipt in which nothing is unusual, without keeping where each value stands.

    None for whatever may be wrong or is merely odd: the reader that knows places then decides, and says where.
    """
    if len(data) > _QUICK or b"\\u" in data:
        return None
    try:
        content = json.loads(
            data.decode(), object_pairs_hook=_without_twins, parse_constant=_refused
        )
        if content["schema"] != SCHEMA or type(content["schema"]) is not int:
            return None
        entries = tuple(row.value() for row in _Receipt.model_validate(content).generations)
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return entries if len({entry.sort_key for entry in entries}) == len(entries) else None


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key that is there twice")
    return found


def _refused(constant: str) -> None:
    raise ValueError(constant)


def _slowly(data: bytes, name: str) -> tuple[ReceiptEntry, ...]:
    try:
        document = parse(data, name, read_json, Limits(nodes=_MOST_VALUES))
    except DocumentError as error:
        raise ReceiptError(error.problem) from error
    content = plain(document)
    _check_schema(document, content)
    try:
        rows = _Receipt.model_validate(content).generations
    except ValidationError as error:
        details = error.errors(include_url=False)[0]
        path = details["loc"]
        sentence = f"`{_dotted(path)}`: {details['msg'].removeprefix('Value error, ')}"
        raise _fault(find(document, path).place, sentence) from error
    entries = tuple(row.value() for row in rows)
    seen: set[tuple[str, str]] = set()
    for index, entry in enumerate(entries):
        if entry.sort_key in seen:
            sentence = f"`{entry.external_task_id}` is listed twice: remove one of the two"
            raise _fault(find(document, ("generations", index)).place, sentence)
        seen.add(entry.sort_key)
    return entries


def read_receipt(path: Path, name: str) -> tuple[ReceiptEntry, ...]:
    """Return the entries of a receipt file. Raises `ReceiptError`; a file that does not exist has no entries."""
    try:
        with open_plain(path) as file:
            data = file.read(LARGEST_RECEIPT + 1)
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise _fault(Place(name), describe_os_error(error, name).message) from error
    if len(data) > LARGEST_RECEIPT:
        raise _fault(Place(name), "the receipt is larger than 64 MiB")
    return parse_receipt(data, name)


def render_receipt(entries: Sequence[ReceiptEntry]) -> bytes:
    """Return the bytes of a receipt: the same for the same entries, whatever their order."""
    rows = [_row(entry) for entry in sorted(entries, key=lambda entry: entry.sort_key)]
    text = json.dumps(
        {"schema": SCHEMA, "generations": rows},
        indent=2,
        sort_keys=True,
        ensure_ascii=False,
        allow_nan=False,
    )
    return f"{text}\n".encode()


def write_receipt(path: Path, data: bytes) -> bool:
    """Write a receipt durably and in one step; return False, with nothing touched, when it holds these bytes.

    Raises `WorkspaceError`; a folder or a symbolic link in its place is neither replaced nor written through.
    """
    standing = signature(path)
    if standing is not None and not standing.is_file:
        raise OutputTaken(
            f"`{path}` is a folder or a link: it is not replaced", hint="Move it out of the way."
        )
    try:
        if standing is not None and standing.size == len(data) and path.read_bytes() == data:
            return False
        with written_beside(path, lambda file: file.write(data)) as temporary:
            temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise describe_os_error(error, path) from error
    return True


def _row(entry: ReceiptEntry) -> dict[str, Any]:
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


def _check_schema(document: Node, content: object) -> None:
    schema = content.get("schema") if isinstance(content, dict) else None
    if type(schema) is not int or schema < 1:
        raise _fault(document.place, "this is no receipt: it has no `schema`")
    if schema > SCHEMA:
        sentence = f"the receipt has schema {schema}, this program knows {SCHEMA}: upgrade it"
        raise _fault(find(document, ("schema",)).place, sentence)


def _fault(place: Place, sentence: str) -> ReceiptError:
    return ReceiptError(Problem(place, "", sentence))


def _dotted(path: Sequence[str | int]) -> str:
    return ".".join(str(step) for step in path)
