"""Receipt files: bytes to entries and back, and writing them only when they change.

They come out of git, from anybody: nothing in one is believed before it was checked. What an entry may say is in
`receipt_rows`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from reconciler.core.documents import DocumentError, Limits, Node, Place, Problem, find, plain
from reconciler.core.errors import SpecError, WorkspaceError
from reconciler.core.identity import split_attempt
from reconciler.core.receipts import ReceiptEntry
from reconciler.disk import sync_folder
from reconciler.workspace.documents import parse
from reconciler.workspace.files import describe_os_error, open_plain, written_beside
from reconciler.workspace.inputs import Root
from reconciler.workspace.json_reader import read_json
from reconciler.workspace.outputs import OutputTaken, signature
from reconciler.workspace.receipt_rows import Receipt, row_of

SCHEMA = 1
LARGEST_RECEIPT = 8 * 1024 * 1024  # bytes; a spec's 1,000 results with long prompts take some 4 MiB
_MOST_VALUES = 400_000  # lists, mappings and what they hold, commas in texts included
_PLACED = 25_000  # values of a receipt whose faults are looked for with their place, which is slow
_ESCAPES = re.compile(rb"\\u(?:[dD][89a-fA-F]|0000)")  # what may be no text at all
_MOST_NAMES = 20_000  # different words between quotes in a receipt that is broken; 1,000 results have some 8,000
_NAME = re.compile(rb'"([A-Za-z0-9._-]{1,128})"')


class ReceiptError(SpecError):
    """A receipt cannot be read. `named` are the base ids that its text may name, and hides what was bought of."""

    def __init__(self, problem: Problem, named: frozenset[str] = frozenset()) -> None:
        super().__init__(
            str(problem), hint="Restore the file from git; what it records was paid for."
        )
        self.problem = problem
        self.named = named


def parse_receipt(data: bytes, name: str) -> tuple[ReceiptEntry, ...]:
    """Return the entries of a receipt, as they stand; `name` is the file's name in places.

    Keys that are not known are passed over. Raises `ReceiptError` at the first thing that is wrong.
    """
    values = _values(data)
    if values > _MOST_VALUES or data.count(b"\n") > 2 * _MOST_VALUES:
        sentence = f"a receipt of more than {_MOST_VALUES:,} values or {2 * _MOST_VALUES:,} lines is not read"
        raise _fault(Place(name), sentence)
    fault = ""
    try:
        if (entries := _quickly(data)) is not None:
            return entries
    except (ValueError, RecursionError) as error:
        fault = _in_short(error)
    if values > _PLACED:
        raise _fault(Place(name), fault or "it cannot be read as a receipt")
    return _slowly(data, name)


def _values(data: bytes) -> int:
    """Return how many values a text holds at most, without reading it."""
    return data.count(b",") + data.count(b"[") + data.count(b"{")


def _quickly(data: bytes) -> tuple[ReceiptEntry, ...] | None:
    """Return the entries of a receipt in which nothing is unusual, without keeping where each value stands.

    None for what is merely odd. Raises ValueError or RecursionError for what is wrong.
    """
    if _ESCAPES.search(data):
        return None
    content = json.loads(data.decode(), object_pairs_hook=_without_twins, parse_constant=_refused)
    schema = content.get("schema") if isinstance(content, dict) else None
    if schema != SCHEMA or type(schema) is not int:
        return None
    entries = tuple(row.value() for row in Receipt.model_validate(content).generations)
    return entries if len({entry.sort_key for entry in entries}) == len(entries) else None


def _in_short(error: ValueError | RecursionError) -> str:
    """Return what is wrong with a receipt that is too long to say where."""
    if isinstance(error, ValidationError):
        return _sentence(error)
    if isinstance(error, RecursionError):
        return "lists and mappings are nested too deeply"
    where = f" in line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
    return f"not valid JSON{where}"


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
        rows = Receipt.model_validate(content).generations
    except ValidationError as error:
        path = error.errors(include_url=False)[0]["loc"]
        raise _fault(find(document, path).place, _sentence(error)) from error
    entries = tuple(row.value() for row in rows)
    seen: set[tuple[str, str]] = set()
    for index, entry in enumerate(entries):
        if entry.sort_key in seen:
            sentence = f"`{entry.external_task_id}` is listed twice: remove one of the two"
            raise _fault(find(document, ("generations", index)).place, sentence)
        seen.add(entry.sort_key)
    return entries


def _sentence(error: ValidationError) -> str:
    details = error.errors(include_url=False)[0]
    path = ".".join(str(step) for step in details["loc"])
    return f"`{path}`: {details['msg'].removeprefix('Value error, ')}"


def read_receipt(root: Root, name: str) -> tuple[ReceiptEntry, ...]:
    """Return the entries of a receipt of the root; a file that does not exist has no entries.

    Raises `ReceiptError`, also where a link leads to what is not read.
    """
    if fault := root.fault(name):
        raise _fault(Place(name), f"`{name}` {fault}")
    try:
        with open_plain(root.path / name) as file:
            data = file.read(LARGEST_RECEIPT + 1)
    except FileNotFoundError:
        return ()
    except OSError as failure:
        raise _fault(Place(name), describe_os_error(failure, name).message) from failure
    if len(data) > LARGEST_RECEIPT:
        error = _fault(Place(name), f"the receipt is larger than {LARGEST_RECEIPT >> 20} MiB")
        raise ReceiptError(error.problem, _named(data))
    try:
        return parse_receipt(data, name)
    except ReceiptError as broken:
        raise ReceiptError(broken.problem, _named(data)) from broken


def _named(data: bytes) -> frozenset[str]:
    """Return the base ids that a text may name: broken or not, an id of ours stands in it between quotes."""
    names: set[str] = set()
    for one in _NAME.finditer(data):
        names.add(one.group(1).decode("ascii"))
        if len(names) == _MOST_NAMES:
            break
    return frozenset(names | {split_attempt(name)[0] for name in names})


def render_receipt(entries: Sequence[ReceiptEntry]) -> bytes:
    """Return the bytes of a receipt: the same for the same entries, whatever their order."""
    rows = [row_of(entry) for entry in sorted(entries, key=lambda entry: entry.sort_key)]
    text = json.dumps(
        {"schema": SCHEMA, "generations": rows},
        indent=2,
        sort_keys=True,
        ensure_ascii=False,
        allow_nan=False,
    )
    return f"{text}\n".encode()


def write_receipt(root: Root, name: str, data: bytes) -> bool:
    """Write a receipt durably and in one step; return False, with nothing touched, when it holds these bytes.

    Raises `WorkspaceError`; a folder or a symbolic link in its place is neither replaced nor written through, nor is
    one on the way to it that leads out of the root.
    """
    path = root.path / name
    if fault := root.fault(name):
        raise OutputTaken(
            f"`{name}` {fault}: nothing is written there", hint="Move the link out of the way."
        )
    if len(data) > LARGEST_RECEIPT or _values(data) > _MOST_VALUES:
        raise WorkspaceError(
            f"`{path.name}` would become too large to be read again, so it is not written",
            hint="Give the spec's further results a spec of their own, or `forget` earlier ones.",
        )
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


def _check_schema(document: Node, content: object) -> None:
    schema = content.get("schema") if isinstance(content, dict) else None
    if type(schema) is not int or schema < 1:
        raise _fault(document.place, "this is not a receipt: it has no `schema`")
    if schema > SCHEMA:
        sentence = f"the receipt has schema {schema}, this program knows {SCHEMA}: upgrade it"
        raise _fault(find(document, ("schema",)).place, sentence)


def _fault(place: Place, sentence: str) -> ReceiptError:
    return ReceiptError(Problem(place, "", sentence))
