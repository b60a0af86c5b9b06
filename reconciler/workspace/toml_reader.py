"""TOML into `Node`s: values by the standard library, places by a scan of the lines.

Places are exact for `key = value` and for table headers; what lies inside a list or an inline table gets the
place of the key that holds it.
"""

from __future__ import annotations

import datetime as dt
import re
import tomllib
from collections.abc import Iterator, Mapping

from reconciler.core.documents import Entry, Node, Place
from reconciler.workspace.reading import LONGEST_NUMBER, Limits, checked_text, fail

_PART = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')"""
_DOTTED = rf"{_PART}(?:[ \t]*\.[ \t]*{_PART})*"
_HEADER = re.compile(rf"[ \t]*\[\[?[ \t]*({_DOTTED})[ \t]*\]")
_ASSIGNMENT = re.compile(rf"[ \t]*({_DOTTED})[ \t]*=[ \t]*")
_TOKEN = re.compile(r'"""|\'\'\'|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'|#[^\n]*|[\[\]{}]|\\.')
_WHERE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)\Z")
_NOT_CLOSED = "a text was not closed: its quote is missing"
# What the standard library's messages begin with.
_WORDS = {
    "Cannot overwrite a value": "a key is written twice",
    "Duplicate inline table key": "a key is written twice",
    "Cannot declare": "a table is written twice",
    "Cannot mutate": "this adds to a table or a list that is complete already",
    "Cannot redefine": "this adds to a table or a list that is complete already",
    "Invalid value": "a value was expected here; text stands in quotes",
    "Invalid date": "this is not a date; text stands in quotes",
    "Invalid hex value": "`\\u` needs four and `\\U` eight hexadecimal digits; write `\\\\` for a backslash",
    "Invalid initial character": "a key was expected here; one with other characters than letters, digits, `_` and `-` stands in quotes",
    "Invalid statement": "a key was expected here; one with other characters than letters, digits, `_` and `-` stands in quotes",
    "Expected '=' after a key in a key/value pair": "a `=` was expected after the key",
    "Expected ']'": "a `]` is missing after the name of the table",
    "Expected newline": "something follows the value: a line holds one key and one value, and text stands in quotes",
    "Expected": _NOT_CLOSED,
    "Unterminated": _NOT_CLOSED,
    "Unclosed array": "a list was not closed: a `,` or `]` is missing",
    "Unclosed inline table": "a mapping was not closed: a `,` or `}` is missing",
    "Unescaped": "a backslash that begins no escape; write `\\\\`, or put the text in single quotes",
    "Escaped character": "this escape names no character",
    "Found invalid character": "a line break or a control character that cannot stand here: close the quote before it",
    "Illegal character": "a line break or a control character inside a text: close the quote before it",
}  # fmt: skip
_NOT_TOML = "text stands in quotes, and every bracket is closed: check both here and above"

LARGEST_TOML = 65_536  # characters
# The standard library takes quadratic time, and more, over a key of many parts.
_ENDLESS_KEY = re.compile(
    r"""(?<![A-Za-z0-9_-])(?:(?:[A-Za-z0-9_-]++|"(?:[^"\\\n]|\\.)*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){50}"""
)

_Path = tuple[str, ...]


def read_toml(text: str, name: str, limits: Limits) -> Node:
    """Return the document in a TOML text. Raises `DocumentError`."""
    if len(text) > LARGEST_TOML:
        raise fail(
            Place(name), f"more than {LARGEST_TOML:,} characters of TOML: a spec is a small text"
        )
    if endless := _ENDLESS_KEY.search(text):
        place = Place(name, text.count("\n", 0, endless.start()) + 1)
        raise fail(place, "lists and mappings are nested too deeply: a key of 50 parts or more")
    try:
        document = tomllib.loads(text)
    except RecursionError as error:
        raise fail(Place(name), "lists and mappings are nested too deeply") from error
    except tomllib.TOMLDecodeError as error:
        raise fail(_place_of(error, text, name), f"not valid TOML: {_sentence(error)}") from error
    except ValueError as error:  # an integer longer than Python reads
        raise fail(Place(name), f"a number has more than {LONGEST_NUMBER} digits") from error
    return _Builder(dict(_places(text, name)), limits).node(document, (), Place(name), 0)


class _Builder:
    """Turns plain values into nodes, each with the nearest place known."""

    def __init__(self, places: Mapping[_Path, tuple[Place, Place]], limits: Limits) -> None:
        self.places = places
        self.limits = limits

    def node(self, value: object, path: _Path, place: Place, depth: int) -> Node:
        """Return the node of a value at a path of keys. Raises `DocumentError`."""
        self.limits.spend(place)
        if isinstance(value, dict):
            self.limits.descend(place, depth + 1)
            return Node(
                {key: self._entry(key, item, path, place, depth) for key, item in value.items()},
                place,
            )
        if isinstance(value, list):
            self.limits.descend(place, depth + 1)
            return Node(tuple(self.node(item, path, place, depth + 1) for item in value), place)
        return Node(_scalar(value, place), place)

    def _entry(self, key: str, value: object, path: _Path, above: Place, depth: int) -> Entry:
        key_place, place = self.places.get((*path, key), (above, above))
        checked_text(key, key_place)
        return Entry(key_place, self.node(value, (*path, key), place, depth + 1))


def _scalar(value: object, place: Place) -> str | int | float | bool:
    if isinstance(value, str):
        return checked_text(value, place)
    if isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        if abs(value) >= 10**LONGEST_NUMBER:
            raise fail(place, f"a number has more than {LONGEST_NUMBER} digits")
        return value
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    raise fail(place, f"a value of the kind {type(value).__name__} is not supported")


def _places(text: str, name: str) -> Iterator[tuple[_Path, tuple[Place, Place]]]:
    """Yield (path of keys, (place of the key, place of its value)), skipping what goes on over several lines."""
    table: _Path = ()
    quote, depth = "", 0  # an open multi-line text, and open brackets
    for number, line in enumerate(text.split("\n"), start=1):
        rest = 0
        if not quote and not depth:
            if header := _HEADER.match(line):
                table = _keys(header.group(1))
                place = Place(name, number, header.start(1) + 1)
                yield table, (place, place)
                continue
            if assignment := _ASSIGNMENT.match(line):
                rest = assignment.end()
                place = Place(name, number, assignment.start(1) + 1)
                yield (*table, *_keys(assignment.group(1))), (place, Place(name, number, rest + 1))
        quote, depth = _still_open(line[rest:], quote, depth)


def _keys(dotted: str) -> _Path:
    return tuple(part.strip("\"'") for part in re.findall(_PART, dotted))


def _still_open(line: str, quote: str, depth: int) -> tuple[str, int]:
    """Return the multi-line text and the brackets that are open at the end of a line."""
    for token in _TOKEN.findall(line):
        if quote:
            quote = "" if token == quote else quote
        elif token in ('"""', "'''"):
            quote = token
        elif token in ("[", "{"):
            depth += 1
        elif token in ("]", "}"):
            depth = max(depth - 1, 0)
    return quote, depth


def _place_of(error: Exception, text: str, name: str) -> Place:
    where = _WHERE.search(str(error))
    if where and where.group(1):
        return Place(name, int(where.group(1)), int(where.group(2)))
    return Place(name, max(len(text.rstrip().split("\n")), 1))


def _sentence(error: Exception) -> str:
    told = str(error)
    return next((words for start, words in _WORDS.items() if told.startswith(start)), _NOT_TOML)
