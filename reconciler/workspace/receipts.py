"""Receipt files: bytes to entries and back, and writing them only when they change.

They come out of git, from anybody: nothing in one is believed before it was checked. What an entry may say is in
`receipt_rows`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from reconciler.core.documents import Node, Place, Problem, find, plain
from reconciler.core.errors import SpecError
from reconciler.core.receipts import ReceiptEntry
from reconciler.disk import sync_folder
from reconciler.workspace.documents import DocumentError, parse
from reconciler.workspace.files import describe_os_error, open_plain, written_beside
from reconciler.workspace.json_reader import read_json
from reconciler.workspace.outputs import OutputTaken, signature
from reconciler.workspace.reading import Limits
from reconciler.workspace.receipt_rows import Receipt, row_of

SCHEMA = 1
LARGEST_RECEIPT = 64 * 1024 * 1024  # bytes
_MOST_VALUES = 5_000_000


class ReceiptError(SpecError):
    """A receipt cannot be read."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(
            str(problem), hint="Restore the file from git; what it records was paid for."
        )
        self.problem = problem


_QUICK = 1024 * 1024  # bytes; a larger receipt is rare, and its limits are the other reader's


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
        schema = content.get("schema") if isinstance(content, dict) else None
        if schema != SCHEMA or type(schema) is not int:
            return None
        rows = Receipt.model_validate(content).generations
    except (ValueError, RecursionError):
        return None
    entries = tuple(row.value() for row in rows)
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
        rows = Receipt.model_validate(content).generations
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
    rows = [row_of(entry) for entry in sorted(entries, key=lambda entry: entry.sort_key)]
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


def _check_schema(document: Node, content: object) -> None:
    schema = content.get("schema") if isinstance(content, dict) else None
    if type(schema) is not int or schema < 1:
        raise _fault(document.place, "this is not a receipt: it has no `schema`")
    if schema > SCHEMA:
        sentence = f"the receipt has schema {schema}, this program knows {SCHEMA}: upgrade it"
        raise _fault(find(document, ("schema",)).place, sentence)


def _fault(place: Place, sentence: str) -> ReceiptError:
    return ReceiptError(Problem(place, "", sentence))


def _dotted(path: Sequence[str | int]) -> str:
    return ".".join(str(step) for step in path)
