"""Reading a spec or defaults file into `Node`s: bytes to text, what no format allows, and the choice of the format."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from reconciler.core.documents import DocumentError, Limits, Node, Place, fail, place_at
from reconciler.workspace.files import plain
from reconciler.workspace.read.json_reader import read_json

LARGEST_DOCUMENT = 1024 * 1024  # bytes

Reader = Callable[[str, str, Limits], Node]

_OURS = re.compile(r"^<{7}(?=[ \r\n]|\Z)", re.MULTILINE)
_MIDDLE = re.compile(r"^={7}(?=\r?$)", re.MULTILINE)  # alone, it may underline a title in a prompt
_THEIRS = re.compile(r"^>{7}(?=[ \r\n]|\Z)", re.MULTILINE)
_ANY_MARKER = re.compile(r"^(?:[<>|]{7}(?=[ \r\n]|\Z)|={7}(?=\r?$))", re.MULTILINE)


def read_document(path: Path, name: str) -> Node:
    """Return the document in a file; `name` gives the format and stands in places. Raises `DocumentError`."""
    return parse(_read(path, name), name, _reader(PurePosixPath(name).suffix.lower()), Limits())


def parse(data: bytes, name: str, reader: Reader, limits: Limits) -> Node:
    """Return the document in a file's bytes. Raises `DocumentError`, and nothing else for any bytes."""
    text = _decode(data, name)
    try:
        return reader(text, name, limits)
    except DocumentError as error:
        marker = _ANY_MARKER.search(text)
        if marker and place_at(text, marker.start(), name).line <= error.problem.place.line:
            raise _conflict(marker, text, name) from error
        raise


def _decode(data: bytes, name: str) -> str:
    """Return a file's text, without a byte order mark. Raises `DocumentError` for what no format allows."""
    if plain.points_to(data):
        raise fail(Place(name), f"the file {plain.ADVICE}")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise fail(Place(name), "the file is in UTF-16: save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8-sig", "replace")
        what = f"byte {error.start} (0x{data[error.start]:02x}) is not UTF-8"
        place = place_at(before, len(before), name)
        raise fail(place, f"{what}: save the file as UTF-8") from error
    ours = _OURS.search(text)
    middle = _MIDDLE.search(text, ours.end()) if ours else None
    if ours and middle and _THEIRS.search(text, middle.end()):
        raise _conflict(ours, text, name)
    return text


def _conflict(marker: re.Match[str], text: str, name: str) -> DocumentError:
    sentence = f"an unresolved merge conflict (`{marker.group()}`): settle it in git first"
    return fail(place_at(text, marker.start(), name), sentence)


def _read(path: Path, name: str) -> bytes:
    try:
        with plain.open_plain(path) as file:
            data = file.read(LARGEST_DOCUMENT + 1)
    except plain.NotPlain as error:
        what = "is a folder" if path.is_dir() else "is not a plain file"
        raise fail(Place(name), f"`{name}` {what}: a spec is a text file") from error
    except (FileNotFoundError, NotADirectoryError) as error:  # a broken link, too
        what = "is a link to nothing" if path.is_symlink() else "does not exist"
        raise fail(Place(name), f"`{name}` {what}") from error
    except OSError as error:
        raise fail(Place(name), plain.describe_os_error(error, name).message) from error
    if len(data) > LARGEST_DOCUMENT:
        size = f"larger than {LARGEST_DOCUMENT // 1024} KiB"
        raise fail(Place(name), f"the file is {size}: a spec is a small text")
    return data


def _reader(suffix: str) -> Reader:
    """Return the reader of a format; all but JSON's bring a library, imported with the first such file."""
    if suffix == ".json":
        return read_json
    if suffix == ".toml":
        from reconciler.workspace.read.toml_reader import read_toml

        return read_toml
    from reconciler.workspace.read.yaml_reader import read_yaml

    return read_yaml
