"""JSON into `Node`s: the standard library's reader keeps no places, lets a later duplicate win, and accepts `NaN`."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from json import JSONDecodeError
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import NoReturn

from reconciler.core.documents import Entry, Limits, Node, Place, fail, nearest, quoted, twice

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
    "": "a text that cannot be read: check its quotes and backslashes",
}


def read_json(text: str, name: str, limits: Limits) -> Node:
    """Return the one document in a JSON text; an empty text is nothing. Raises `DocumentError`."""
    return _Reader(text, name, limits).document()


class _Reader:
    """Reads a text from left to right, recursively as deep as the limits allow."""

    def __init__(self, text: str, name: str, limits: Limits) -> None:
        self.text = text
        self.name = name
        self.limits = limits
        self.at = 0
        self._lines = [0, *(match.end() for match in re.finditer("\n", text))]

    def document(self) -> Node:
        if not self._next():
            return Node(None, self._place())
        node = self._value(0)
        if self._next():
            raise fail(self._place(), "something follows the document: a file holds one value")
        return node

    def _place(self, at: int | None = None) -> Place:
        at = self.at if at is None else at
        line = bisect_right(self._lines, at)
        return Place(self.name, line, at - self._lines[line - 1] + 1)

    def _next(self) -> str:
        """Skip white space and return the next character, or an empty string at the end."""
        match = _SPACE.match(self.text, self.at)
        self.at = match.end() if match else self.at
        return self.text[self.at : self.at + 1]

    def _refuse(self, fault: str, at: int | None = None) -> NoReturn:
        raise fail(self._place(at), f"not valid JSON: {fault}")

    def _value(self, depth: int) -> Node:
        first, place = self._next(), self._place()
        self.limits.spend(place)
        if first == '"':
            return Node(self._string(), place)
        if first not in {"{", "["}:
            return Node(self._scalar(place), place)
        self.limits.descend(place, depth + 1)
        if first == "{":
            return Node(self._object(depth + 1), place)
        return Node(tuple(self._value(depth + 1) for _ in self._members("]")), place)

    def _string(self) -> str:
        place = self._place()
        try:
            text, self.at = scanstring(self.text, self.at + 1, True)
        except JSONDecodeError as error:
            known = (start for start in _STRING_FAULTS if error.msg.startswith(start))
            self._refuse(_STRING_FAULTS[next(known, "")], error.pos)
        return self.limits.text(text, place)

    def _scalar(self, place: Place) -> int | float | bool | None:
        if number := _NUMBER.match(self.text, self.at):
            self.at = number.end()
            whole, *rest = number.groups()
            return float(number.group()) if any(rest) else self.limits.integer(whole, place)
        word = _WORD.match(self.text, self.at)
        if word is None or word.group() not in _CONSTANTS:
            self._unexpected(word.group() if word else self._next())
        self.at = word.end()
        return _CONSTANTS[word.group()]

    def _unexpected(self, what: str) -> NoReturn:
        if what in {"NaN", "Infinity", "-Infinity"}:
            raise fail(self._place(), f"`{what}` is not a JSON number")
        if what in {"/", "#"}:
            sentence = "JSON has no comments: remove it, or write the spec in YAML"
            raise fail(self._place(), sentence)
        if not what:
            self._refuse("the file ends where a value was expected")
        if what in {"]", "}"}:
            self._refuse(f"a value was expected before `{what}` (is there a `,` too many?)")
        # The file may hold a password: only a known slip in JSON is quoted.
        is_slip = what in _SLIPS or nearest(what, _CONSTANTS)
        begins = f"a value cannot begin with `{what}`" if is_slip else "no value begins like this"
        self._refuse(f"{begins}; text stands in double quotes")

    def _object(self, depth: int) -> dict[str, Entry]:
        entries: dict[str, Entry] = {}
        for _ in self._members("}"):
            first, place = self._next(), self._place()
            if first in {"}", "/", "#", ""}:
                self._unexpected(first)
            if first != '"':
                self._refuse("a key in double quotes was expected")
            key = self._string()
            if known := entries.get(key):
                raise twice(key, place, known)
            if self._next() != ":":
                self._refuse(f"a `:` is missing after {quoted(key, 'the key')}")
            self.at += 1
            entries[key] = Entry(place, self._value(depth))
        return entries

    def _members(self, bracket: str) -> Iterator[None]:
        """Step over a list's or object's brackets and commas; yield where each member is to be read."""
        self.at += 1
        if self._next() == bracket:
            self.at += 1
            return
        while True:
            yield
            found = self._next()
            if found not in {",", bracket}:
                self._refuse(f"a `,` or `{bracket}` was expected here")
            self.at += 1
            if found == bracket:
                return
