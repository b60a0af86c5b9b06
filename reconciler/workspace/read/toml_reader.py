"""TOML into `Node`s: values by the standard library, places by a search for keys and table headers.

What lies inside a list or an inline table gets the place of the key that holds it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

from reconciler.core.documents import DocumentError, Entry, Limits, Node, Place, fail, place_at

LARGEST_TOML = 65_536  # characters

_PART = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')"""
_KEY = rf"{_PART}(?:[ \t]*\.[ \t]*{_PART})*"
# A table's header, or a key with its `=`; and texts, comments and brackets, in which others only look like these.
_STEP = re.compile(
    rf"""
    ^[ \t]*(?:\[[ \t]*(?P<table>{_KEY})[ \t]*\] | \[\[[ \t]*(?P<row>{_KEY})[ \t]*\]\])
    | ^[ \t]*(?P<key>{_KEY})[ \t]*=[ \t]*
    | \"{{3}}(?:[^\\]|\\.)*?\"{{3,5}} | '{{3}}.*?'{{3,5}} | "(?:[^"\\\n]|\\.)*" | '[^'\n]*' | \#[^\n]*
    | (?P<open>[\[{{]) | (?P<close>[\]}}])
    """,
    re.MULTILINE | re.DOTALL | re.VERBOSE,
)
# The standard library takes quadratic time, and more, over a key of many parts.
_ENDLESS_KEY = re.compile(
    r"""(?<![A-Za-z0-9_-])(?:(?:[A-Za-z0-9_-]++|"(?:[^"\\\n]|\\.)*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){50}"""
)
_WHERE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)\Z")
# What the standard library's messages begin with.
_WORDS: dict[str | tuple[str, ...], str] = {
    ("Cannot overwrite a value", "Duplicate inline table key"): "a key is written twice",
    "Cannot declare": "a table is written twice",
    ("Cannot mutate", "Cannot redefine"): "this adds to a table or a list that is complete already",
    "Invalid value": "a value was expected here; text stands in quotes",
    "Invalid date": "this is not a date; text stands in quotes",
    "Invalid hex value": "`\\u` needs four and `\\U` eight hexadecimal digits; write `\\\\` for a backslash",
    ("Invalid initial character", "Invalid statement"): "a key was expected here; one with other characters than letters, digits, `_` and `-` stands in quotes",
    "Expected '=' after a key in a key/value pair": "a `=` was expected after the key",
    "Expected ']'": "a `]` is missing after the name of the table",
    "Expected newline": "something follows the value: a line holds one key and one value, and text stands in quotes",
    ("Expected", "Unterminated"): "a text was not closed: its quote is missing",
    "Unclosed array": "a list was not closed: a `,` or `]` is missing",
    "Unclosed inline table": "a mapping was not closed: a `,` or `}` is missing",
    "Unescaped": "a backslash that begins no escape; write `\\\\`, or put the text in single quotes",
    "Escaped character": "this escape names no character",
    "Found invalid character": "a line break or a control character that cannot stand here: close the quote before it",
    "Illegal character": "a line break or a control character inside a text: close the quote before it",
    "": "text stands in quotes, and every bracket is closed: check both here and above",
}  # fmt: skip

_Path = tuple[str, ...]


def read_toml(text: str, name: str, limits: Limits) -> Node:
    """Return the document in a TOML text. Raises `DocumentError`."""
    too_deep = "lists and mappings are nested too deeply"
    if len(text) > LARGEST_TOML:
        sentence = f"more than {LARGEST_TOML:,} characters of TOML: a spec is a small text"
        raise fail(Place(name), sentence)
    if endless := _ENDLESS_KEY.search(text):
        place = Place(name, place_at(text, endless.start(), name).line)
        raise fail(place, f"{too_deep}: a key of 50 parts or more")
    try:
        document = tomllib.loads(text)
    except RecursionError as error:
        raise fail(Place(name), too_deep) from error
    except tomllib.TOMLDecodeError as error:
        raise _refusal(str(error), text, name) from error
    except ValueError as error:  # an integer longer than Python reads
        raise fail(Place(name), f"a number has more than {limits.digits} digits") from error
    return _Builder(dict(_places(text, name)), limits).node(document, (), Place(name), 0)


def _refusal(told: str, text: str, name: str) -> DocumentError:
    place = Place(name, max(len(text.rstrip().split("\n")), 1))
    if (where := _WHERE.search(told)) and where[1]:
        place = Place(name, int(where[1]), int(where[2]))
    words = next(words for start, words in _WORDS.items() if told.startswith(start))
    return fail(place, f"not valid TOML: {words}")


class _Builder:
    """Turns plain values into nodes, each with the nearest known place."""

    def __init__(self, places: Mapping[_Path, tuple[Place, Place]], limits: Limits) -> None:
        self.places = places
        self.limits = limits

    def node(self, value: Any, path: _Path, place: Place, depth: int) -> Node:
        self.limits.spend(place)
        if not isinstance(value, dict | list):
            return Node(self._scalar(value, place), place)
        self.limits.descend(place, depth + 1)
        if isinstance(value, list):
            return Node(tuple(self.node(item, path, place, depth + 1) for item in value), place)
        entries: dict[str, Entry] = {}
        for key, item in value.items():
            key_place, item_place = self.places.get((*path, key), (place, place))
            self.limits.text(key, key_place)
            entries[key] = Entry(key_place, self.node(item, (*path, key), item_place, depth + 1))
        return Node(entries, place)

    def _scalar(self, value: Any, place: Place) -> str | int | float | bool:
        if isinstance(value, str):
            return self.limits.text(value, place)
        if isinstance(value, int) and abs(value) >= 10**self.limits.digits:
            raise fail(place, f"a number has more than {self.limits.digits} digits")
        is_number = isinstance(value, int | float)
        return value if is_number else str(value.isoformat())  # a date or a time


def _places(text: str, name: str) -> Iterator[tuple[_Path, tuple[Place, Place]]]:
    """Yield (path of keys, (place of the key, place of its value)); a table stands where its name does."""
    table: _Path = ()
    depth = 0  # open brackets
    for step in _STEP.finditer(text):
        depth += bool(step["open"]) - bool(step["close"])
        kind = step.lastgroup
        if depth or kind not in ("table", "row", "key"):
            continue
        keys = tuple(part.strip("\"'") for part in re.findall(_PART, step[kind]))
        place = place_at(text, step.start(kind), name)
        if kind == "key":
            yield (*table, *keys), (place, place_at(text, step.end(), name))
        else:
            table = keys
            yield table, (place, place)
