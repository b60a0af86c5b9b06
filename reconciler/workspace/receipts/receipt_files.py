"""Receipt files: bytes to entries and back, and writing them only when they change.

They come out of git, from anybody, so everything in one is checked: an output can name only a video beside the receipt,
and a preview a picture; an invalid preview is passed over, since no purchase depends on it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
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
    OnErrorOmit,
    ValidationError,
)

from reconciler.core.documents import DocumentError, Limits, Place, Problem, find
from reconciler.core.errors import SpecError, WorkspaceError
from reconciler.core.identity import split_attempt
from reconciler.core.moments import milliseconds
from reconciler.core.receipt_entries import ReceiptEntry, ReceiptOutput, file_row, in_order
from reconciler.core.states import Role, Status
from reconciler.workspace.files.outputs import OutputTaken, not_replaced, signature
from reconciler.workspace.files.plain import (
    NotPlain,
    describe_os_error,
    described,
    open_plain,
    replace_plain,
)
from reconciler.workspace.files.root import Root
from reconciler.workspace.read.formats import parse
from reconciler.workspace.read.json_reader import read_json

SCHEMA = 1
LARGEST_RECEIPT = 8 * 1024 * 1024  # bytes; a spec's 1,000 results with long prompts take some 4 MiB

_MOST_VALUES = 400_000  # lists, mappings and what they hold, commas in texts included
_PLACED = 25_000  # values of a receipt whose faults are looked for with their place, which is slow
_MOST_NAMES = 20_000  # different words between quotes in a receipt that is broken; 1,000 results have some 8,000
_DEEPEST_REQUEST = 20  # levels; the API's own has three
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = 253_402_300_799_999  # ms: the end of the year 9999

_ESCAPES = re.compile(rb"\\u(?:[dD][89a-fA-F]|0000)")  # surrogates, and NUL
_NAME = re.compile(rb'"([A-Za-z0-9._-]{1,128})"')
_TASK_ID = r"^([A-Za-z0-9_-][A-Za-z0-9._-]{0,127})?$"  # empty where the provider never named one


class ReceiptError(SpecError):
    """A receipt cannot be read; `named`: the base ids in its text, which may have been bought."""

    def __init__(self, problem: Problem, named: frozenset[str] = frozenset()) -> None:
        hint = "Restore the file from git; what it records was paid for."
        super().__init__(str(problem), hint=hint)
        self.problem = problem
        self.named = named


class _Fault(ValueError):
    """What is wrong with a receipt that is JSON, and the path of keys and indexes to it."""

    def __init__(self, sentence: str, *path: str | int) -> None:
        super().__init__(sentence)
        self.path = path


def _milliseconds(text: object) -> object:
    """Return the milliseconds of an ISO-8601 time in UTC; anything else as it is, to be refused."""
    if not isinstance(text, str) or not text.endswith("Z"):
        return text
    return (datetime.fromisoformat(text) - _EPOCH) // timedelta(milliseconds=1)


def _bounded(request: dict[str, Any]) -> dict[str, Any]:
    """Return a request, if an identity can be computed of it. Raises ValueError."""
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


def _file_name(ending: str, what: str) -> AfterValidator:
    pattern = re.compile(rf"[^./\\\x00-\x1f\x7f][^/\\\x00-\x1f\x7f]*{ending}")

    def check(name: str) -> str:
        if len(name) > 255 or not pattern.fullmatch(name):
            raise ValueError(f"{what} beside the receipt")
        return name

    return AfterValidator(check)


_VideoName = Annotated[str, _file_name(r"\.mp4", "an output is the plain name of an .mp4 file")]
_PictureName = Annotated[
    str, _file_name(r"\.(poster|sheet)\.webp", "a preview is the plain name of a picture of ours")
]
_Side = Annotated[int, Field(gt=0, lt=2**31)] | None
# `milliseconds`: what was written down of a time that cannot be.
_ReadTime = BeforeValidator(_milliseconds), Field(ge=0, le=_LATEST), AfterValidator(milliseconds)
_Time = Annotated[int, *_ReadTime] | None


class _Checked(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)  # a newer program's keys are passed over


class _File(_Checked):
    path: str
    role: str
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    bytes: Annotated[int, Field(ge=0, lt=2**63)]
    duration: float | None = None
    width: _Side = None
    height: _Side = None

    def value(self) -> ReceiptOutput:
        measured = self.duration, self.width, self.height
        return ReceiptOutput(self.path, Role(self.role), self.sha256, self.bytes, *measured)


class _Output(_File):
    path: _VideoName
    role: Literal["video", "watermark"]
    duration: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None


class _Preview(_File):
    path: _PictureName
    role: Literal["poster", "sheet"]
    duration: Annotated[None, BeforeValidator(lambda _: None)] = None  # a picture has none


class _Row(_Checked):
    external_task_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,128}$")]
    task_id: Annotated[str, Field(pattern=_TASK_ID)]
    label: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{0,255}$")]
    status: Annotated[
        str, Field(pattern="^(complete|failed|expired|submitted|processing|succeeded)$")
    ]
    request: Annotated[dict[str, Any], AfterValidator(_bounded)]
    outputs: Annotated[list[_Output], Field(max_length=len(Role))]
    previews: Annotated[
        list[OnErrorOmit[_Preview]],
        BeforeValidator(lambda found: found if isinstance(found, list) else []),
    ] = []
    units: Annotated[str, Field(pattern=r"^[0-9]{1,20}(\.[0-9]{1,20})?$")] | None
    created_at: _Time
    finished_at: _Time
    current: bool = True

    def value(self) -> ReceiptEntry:
        previews: dict[str, ReceiptOutput] = {}  # the first of each role
        for preview in self.previews:
            previews.setdefault(preview.role, preview.value())
        fields = vars(self) | {
            "status": Status(self.status),
            "outputs": tuple(output.value() for output in self.outputs),
            "previews": tuple(previews.values()),
            "units": None if self.units is None else Decimal(self.units),
        }
        return ReceiptEntry(**fields)


class _Receipt(_Checked):
    generations: Annotated[list[_Row], FailFast()]


def parse_receipt(data: bytes, name: str) -> tuple[ReceiptEntry, ...]:
    """Return the entries of a receipt; `name` stands in places. Raises `ReceiptError`."""
    if len(data) > LARGEST_RECEIPT:
        raise _error(Place(name), f"the receipt is larger than {LARGEST_RECEIPT >> 20} MiB")
    values = _values(data)
    if values > _MOST_VALUES or data.count(b"\n") > 2 * _MOST_VALUES:
        sentence = f"a receipt of more than {_MOST_VALUES:,} values or {2 * _MOST_VALUES:,} lines is not read"
        raise _error(Place(name), sentence)
    entries: tuple[ReceiptEntry, ...] = ()
    fault = None
    try:
        entries = _entries(data)
    except (ValueError, RecursionError) as error:
        fault = _fault(error)
    if fault is None and not _ESCAPES.search(data):
        return entries
    if values > _PLACED:
        raise _error(Place(name), str(fault or "it cannot be read as a receipt"))
    try:
        document = parse(data, name, read_json, Limits(nodes=_MOST_VALUES))
    except DocumentError as error:
        raise ReceiptError(error.problem) from error
    if fault:
        raise _error(find(document, fault.path).place, str(fault))
    return entries


def _values(data: bytes) -> int:
    """Return a cheap upper bound for the values in a text."""
    return data.count(b",") + data.count(b"[") + data.count(b"{")


def _entries(data: bytes) -> tuple[ReceiptEntry, ...]:
    text = data.decode("utf-8-sig")
    content = None
    if text.strip(" \t\r\n"):
        content = json.loads(text, object_pairs_hook=_without_twins, parse_constant=_refused)
    schema = content.get("schema") if isinstance(content, dict) else None
    if type(schema) is not int or schema < 1:
        raise _Fault("this is not a receipt: it has no `schema`")
    if schema > SCHEMA:
        sentence = f"the receipt has schema {schema}, this program knows {SCHEMA}: upgrade it"
        raise _Fault(sentence, "schema")
    entries = tuple(row.value() for row in _Receipt.model_validate(content).generations)
    seen: set[tuple[str, str]] = set()
    for index, entry in enumerate(entries):
        if entry.sort_key in seen:
            sentence = f"`{entry.external_task_id}` is listed twice: remove one of the two"
            raise _Fault(sentence, "generations", index)
        seen.add(entry.sort_key)
    return entries


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key that is there twice")
    return found


def _refused(constant: str) -> None:
    raise ValueError(constant)


def _fault(error: ValueError | RecursionError) -> _Fault:
    if isinstance(error, _Fault):
        return error
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        path = ".".join(map(str, first["loc"]))
        return _Fault(f"`{path}`: {first['msg'].removeprefix('Value error, ')}", *first["loc"])
    if isinstance(error, RecursionError):
        return _Fault("lists and mappings are nested too deeply")
    where = f" in line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
    return _Fault(f"not valid JSON{where}")


def _error(place: Place, sentence: str) -> ReceiptError:
    return ReceiptError(Problem(place, "", sentence))


def read_receipt(root: Root, name: str) -> tuple[ReceiptEntry, ...]:
    """Return the entries of a receipt; none where there is no file. Raises `ReceiptError`, also for bad links."""
    if fault := root.fault(name):
        raise _error(Place(name), f"`{name}` {fault}")
    try:
        with open_plain(root.path / name) as file:
            data = file.read(LARGEST_RECEIPT + 1)
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise _error(Place(name), describe_os_error(error, name).message) from error
    try:
        return parse_receipt(data, name)
    except ReceiptError as broken:
        raise ReceiptError(broken.problem, _named(data)) from broken


def _named(data: bytes) -> frozenset[str]:
    """Return the base ids that a broken receipt may name: all that stands between quotes and looks like an id."""
    names: set[str] = set()
    for one in _NAME.finditer(data):
        names.add(one.group(1).decode("ascii"))
        if len(names) == _MOST_NAMES:
            break
    return frozenset(names | {split_attempt(name)[0] for name in names})


def render_receipt(entries: Sequence[ReceiptEntry]) -> bytes:
    """Return the bytes of a receipt: the same for the same entries in any order."""
    document = {"schema": SCHEMA, "generations": [_row(entry) for entry in in_order(entries)]}
    text = json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode()


def _row(entry: ReceiptEntry) -> dict[str, Any]:
    row: dict[str, Any] = {
        "external_task_id": entry.external_task_id,
        # A receipt with an id that no reader takes would block every purchase; our own id finds the task too.
        "task_id": entry.task_id if re.fullmatch(_TASK_ID, entry.task_id) else "",
        "label": entry.label,
        "status": entry.status.value,
        "request": entry.request,
        "outputs": [file_row(one.path, one) | {"duration": one.duration} for one in entry.outputs],
        "units": None if entry.units is None else f"{entry.units:f}",
        "created_at": _iso(entry.created_at),
        "finished_at": _iso(entry.finished_at),
    }
    if entry.previews:
        row["previews"] = [file_row(preview.path, preview) for preview in entry.previews]
    return row if entry.current else row | {"current": False}


def _iso(milliseconds: int | None) -> str | None:
    """Return a time as ISO-8601 in UTC with milliseconds; None where no calendar holds it."""
    if milliseconds is None or not 0 <= milliseconds <= _LATEST:
        return None
    moment = _EPOCH + timedelta(milliseconds=milliseconds)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{milliseconds % 1000:03d}Z"


def holds(root: Root, name: str, data: bytes) -> bool:
    """Whether a receipt is a plain file that may be read, and has these bytes. Raises `WorkspaceError`."""
    path = root.path / name
    with described(path):
        standing = signature(path)
        is_plain = standing is not None and standing.size == len(data) and not root.fault(name)
        return is_plain and path.read_bytes() == data


def write_receipt(root: Root, name: str, data: bytes) -> bool:
    """Write a receipt durably and in one step; False when it holds these bytes already. Raises `WorkspaceError`."""
    path = root.path / name
    if fault := root.fault(name):
        sentence = f"`{name}` {fault}: nothing is written there"
        raise OutputTaken(sentence, hint="Move the link out of the way.")
    if len(data) > LARGEST_RECEIPT or _values(data) > _MOST_VALUES:
        raise WorkspaceError(
            f"`{path.name}` would become too large to be read again, so it is not written",
            hint="Give the spec's further results a spec of their own, or `forget` earlier ones.",
        )
    try:
        if holds(root, name, data):
            return False
        replace_plain(path, data)
    except NotPlain:
        raise not_replaced(path) from None
    except OSError as error:
        raise describe_os_error(error, path) from error
    return True
