"""JSON into `Node`s, with the place of every key and value.

The standard library decodes the scalars; objects and arrays are walked here, because its own walk forgets where
things stood, lets a later duplicate win, and accepts `NaN`.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from json import JSONDecodeError
from json.decoder import scanstring  # type: ignore[attr-defined]

from reconciler.core.documents import Entry, Node, Place, nearest
from reconciler.workspace.reading import Limits, checked_integer, checked_text, fail, quoted

_SPACE = re.compile(r"[ \t\r\n]*")
_NUMBER = re.compile(r"(-?(?:0|[1-9][0-9]*))(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_CONSTANTS = {"true": True, "false": False, "null": None}
_SLIPS = {"None", "undefined", "'", "`", "(", "+", ".", "-"}
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|-Infinity")
_STRING_FAULTS = {
    "Unterminated string starting at": 'a text was not closed: its `"` is missing',
    "Invalid control character at": "a line break or control character inside a text: write `\\n`",
    "Invalid \\escape": "a backslash that begins no escape: write `\\\\` for the character itself",
    "Invalid \\uXXXX escape": "`\\u` needs four hexadecimal digits",
}


def read_json(text: str, name: str, limits: Limits) -> Node:
    """Return the one document in a JSON text; an empty text is nothing. Raises `DocumentError`."""
    return _Reader(text, name, limits).document()


class _Reader:
    """Walks a text from left to right; recursive only as deep as the limits allow."""

    def __init__(self, text: str, name: str, limits: Limits) -> None:
        self.text = text
        self.name = name
        self.limits = limits
        self.at = 0
        self._lines = [0, *(match.end() for match in re.finditer("\n", text))]

    def document(self) -> Node:
        """Return the only value of the text. Raises `DocumentError`."""
        if not self._next():
            return Node(None, self._place())
        node = self._value(0)
        if self._next():
            raise fail(self._place(), "something follows the document: a file holds one value")
        return node

    def _place(self, at: int | None = None) -> Place:
        offset = self.at if at is None else at
        line = bisect_right(self._lines, offset)
        return Place(self.name, line, offset - self._lines[line - 1] + 1)

    def _next(self) -> str:
        """Skip white space and return the next character, or an empty string at the end."""
        match = _SPACE.match(self.text, self.at)
        self.at = match.end() if match else self.at
        return self.text[self.at : self.at + 1]

    def _value(self, depth: int) -> Node:
        first, place = self._next(), self._place()
        self.limits.spend(place)
        if first == '"':
            return Node(self._string(), place)
        if first == "{":
            self.limits.descend(place, depth + 1)
            return Node(self._object(depth + 1), place)
        if first == "[":
            self.limits.descend(place, depth + 1)
            return Node(self._array(depth + 1), place)
        return Node(self._scalar(place), place)

    def _string(self) -> str:
        place = self._place()
        try:
            text, self.at = scanstring(self.text, self.at + 1, True)
        except JSONDecodeError as error:
            fault = next(
                (words for start, words in _STRING_FAULTS.items() if error.msg.startswith(start)),
                "a text that cannot be read: check its quotes and backslashes",
            )
            raise fail(self._place(error.pos), f"not valid JSON: {fault}") from error
        return checked_text(text, place)

    def _scalar(self, place: Place) -> int | float | bool | None:
        if number := _NUMBER.match(self.text, self.at):
            self.at = number.end()
            whole, *rest = number.groups()
            return float(number.group()) if any(rest) else checked_integer(whole, place)
        word = _WORD.match(self.text, self.at)
        if word and word.group() in _CONSTANTS:
            self.at = word.end()
            return _CONSTANTS[word.group()]
        raise fail(place, self._unexpected(word.group() if word else self._next()))

    def _unexpected(self, what: str) -> str:
        if not what:
            return "not valid JSON: the file ends where a value was expected"
        if what in {"NaN", "Infinity", "-Infinity"}:
            return f"`{what}` is not a JSON number"
        if what in {"/", "#"}:
            return "JSON has no comments: remove it, or write the spec in YAML"
        if what in {"]", "}"}:
            return (
                f"not valid JSON: a value was expected before `{what}` (is there a `,` too many?)"
            )
        # The file may be anything, a password too: only what is a slip in JSON is said.
        if what in _SLIPS or nearest(what, _CONSTANTS):
            return (
                f"not valid JSON: a value cannot begin with `{what}`; text stands in double quotes"
            )
        return "not valid JSON: no value begins like this; text stands in double quotes"

    def _array(self, depth: int) -> tuple[Node, ...]:
        items: list[Node] = []
        self.at += 1
        if self._next() == "]":
            self.at += 1
            return ()
        while True:
            items.append(self._value(depth))
            if self._closed("]"):
                return tuple(items)

    def _object(self, depth: int) -> dict[str, Entry]:
        entries: dict[str, Entry] = {}
        self.at += 1
        if self._next() == "}":
            self.at += 1
            return entries
        while True:
            if (first := self._next()) != '"':
                raise fail(self._place(), self._no_key(first))
            place = self._place()
            key = self._string()
            if key in entries:
                raise fail(
                    place,
                    f"{quoted(key, 'a key')} is written twice; first in line {entries[key].key.line}",
                    quoted(key) and key,
                )
            if self._next() != ":":
                raise fail(
                    self._place(),
                    f"not valid JSON: a `:` is missing after {quoted(key, 'the key')}",
                )
            self.at += 1
            entries[key] = Entry(place, self._value(depth))
            if self._closed("}"):
                return entries

    def _no_key(self, first: str) -> str:
        if first in {"}", "/", "#", ""}:
            return self._unexpected(first)
        return "not valid JSON: a key in double quotes was expected"

    def _closed(self, bracket: str) -> bool:
        """Step over the `,` (False) or the closing bracket (True) that must follow a value."""
        found = self._next()
        if found not in (",", bracket) or not found:
            raise fail(self._place(), f"not valid JSON: a `,` or `{bracket}` was expected here")
        self.at += 1
        return found == bracket
