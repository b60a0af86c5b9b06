"""YAML into `Node`s, from the parser's events: the only importer of the YAML library.

The library's own composer is not used: it has no limit for depth or for aliases. Scalars are YAML 1.1's, but dates,
sexagesimal (`1:30`) and octal (`012`) numbers stay text.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any

import yaml

from reconciler.core.documents import (
    DocumentError,
    Entry,
    Limits,
    Node,
    Place,
    fail,
    kind_of,
    place_at,
    quoted,
    twice,
    weight_of,
)

_CONSTANTS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("yes", "Yes", "YES", "on", "On", "ON", "true", "True", "TRUE"), True),
    **dict.fromkeys(("no", "No", "NO", "off", "Off", "OFF", "false", "False", "FALSE"), False),
}
_DECIMAL = re.compile(r"[-+]?(?:0|[1-9][0-9_]*)\Z")
_OTHER_BASE = re.compile(r"([-+]?)0([xb])(?=_*+[0-9a-fA-F])([0-9a-fA-F_]++)\Z")
_FLOAT = re.compile(r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?\Z")
_SPECIAL_FLOAT = re.compile(r"[-+]?\.(?:inf|Inf|INF)\Z|\.(?:nan|NaN|NAN)\Z")

_COMMENT = re.compile(r"[ \t]+#|[ \t]*\r?\n(?P<below>[ \t]+)#")

# After any of libyaml's line breaks. libyaml compares each with all before it, in a call that cannot be interrupted.
_TAG_DIRECTIVE = re.compile(r"(?:^|(?<=[\r\x85\u2028\u2029]))%TAG", re.MULTILINE)
_BREAK = re.compile(r"\r\n|[\r\n\x85\u2028\u2029]")
_MOST_DIRECTIVES = 10  # no spec needs one: its tags are refused

_TAG = "tag:yaml.org,2002:"
_TYPES: dict[str, tuple[type, ...]] = {
    "bool": (bool,), "int": (int,), "float": (float, int), "null": (type(None),)
}  # fmt: skip

_DIRECTIVE = "a line that begins with `%` is a directive to YAML: put the text in quotes"
_REFERENCE = "a value that begins with `&` or `*` is a reference to YAML: put the text in quotes"
# For any error while libyaml reads one of these, which its message names last ("while scanning a tag").
_WITHIN = {
    "directive": _DIRECTIVE,
    "tag": "a value that begins with `!` is a tag to YAML: put the text in quotes",
    "anchor": _REFERENCE,
    "alias": _REFERENCE,
}
_TAB = "a tab where spaces must indent: replace it by spaces"
# For every other message of its scanner and parser that a text can cause.
_WORDS = {
    "found incompatible YAML document": _DIRECTIVE,
    "found duplicate %YAML directive": _DIRECTIVE,
    "found duplicate %TAG directive": _DIRECTIVE,
    "found a tab character where an indentation space is expected": _TAB,
    "found a tab character that violates indentation": _TAB,
    "did not find expected comment or line break": "nothing can follow `|` or `>` in its line: begin the text in the next line, or put it in quotes",
    "found an indentation indicator equal to 0": "`|` and `>` may be followed by 1 to 9, not by 0",
    "did not find expected <document start>": "something follows that belongs to nothing above it: check the indentation, and put texts in quotes",
    "block sequence entries are not allowed in this context": "a `-` where no list can begin: put the text in quotes, or begin the list in a line of its own",
    "mapping keys are not allowed in this context": "a `?` where no key can stand: put the text in quotes",
    "found unexpected ':'": "a `:` inside brackets: put the text in quotes",
    "found unexpected document indicator": "a line that begins with `---` or `...` inside a quoted text: indent it",
    "found unknown escape character": "not valid YAML: a backslash that begins no escape; write `\\\\`, or put the text in single quotes",
    "did not find expected hexdecimal number": "not valid YAML: `\\x` needs two, `\\u` four and `\\U` eight hexadecimal digits; write `\\\\` for a backslash",
    "found invalid Unicode character escape code": "not valid YAML: this escape names no character",
    "found character that cannot start any token": "a value cannot begin with this character: put the text in quotes, and indent with spaces",
    "mapping values are not allowed in this context": "a `:` where no key can stand: put the text in quotes, or check the indentation",
    "did not find expected key": "a key was expected here: check the indentation and the quotes above",
    "did not find expected '-' indicator": "a `-` was expected here: check the indentation",
    "did not find expected ',' or ']'": "a list was not closed: a `,` or `]` is missing",
    "did not find expected ',' or '}'": "a mapping was not closed: a `,` or `}` is missing",
    "found unexpected end of stream": "a quoted text was not closed",
    "could not find expected ':'": "a `:` is missing after the key",
    "did not find expected node content": "a value was expected here: is a bracket or quote missing?",
    "found undefined tag handle": "tags are not supported: write the value as it is",
}  # fmt: skip
_NOT_YAML = (
    "not valid YAML: put texts in quotes, and check the brackets and the indentation here and above"
)


def read_yaml(text: str, name: str, limits: Limits) -> Node:
    """Return the one document in a YAML text; an empty text is nothing. Raises `DocumentError`."""
    _check_directives(text, name)
    try:
        return _Composer(text, name, limits).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        if error.context_mark and (mark is None or mark.index >= len(text.rstrip())):
            mark = error.context_mark  # what was not closed, rather than the end of the file
        place = Place(name, mark.line + 1, mark.column + 1) if mark else Place(name)
        raise fail(place, _sentence(error)) from error
    except yaml.reader.ReaderError as error:
        # Searched, because the error's own position counts bytes of a buffer.
        offset = text.find(chr(error.character)) if isinstance(error.character, int) else 0
        sentence = f"the character U+{error.character:04X} cannot stand in YAML as it is"
        raise fail(place_at(text, max(offset, 0), name), sentence) from error


def _sentence(error: yaml.MarkedYAMLError) -> str:
    within = (error.context or "").rpartition(" ")[2]
    return _WITHIN.get(within) or _WORDS.get(error.problem or "", _NOT_YAML)


def _check_directives(text: str, name: str) -> None:
    directives = _TAG_DIRECTIVE.finditer(text)
    for one in itertools.islice(directives, _MOST_DIRECTIVES, None):
        place = Place(name, len(_BREAK.findall(text, 0, one.start())) + 1)
        sentence = f"more than {_MOST_DIRECTIVES} lines begin with `%TAG`: remove them, since tags are not supported"
        raise fail(place, sentence)


class _Composer:
    """Builds nodes from the parser's events, recursively as deep as the limits allow."""

    def __init__(self, text: str, name: str, limits: Limits) -> None:
        self.text = text
        self.name = name
        self.limits = limits
        self._events: Iterator[Any] = iter(yaml.CSafeLoader(text).get_event, None)
        self._open: list[Place] = []  # lists and mappings whose end was not read yet
        # The node of each anchor, and its number of values; None while it is being read.
        self._anchors: dict[str, tuple[Node, int] | None] = {}

    def document(self) -> Node:
        root = None
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    sentence = "a second document (`---`): a file holds one"
                    raise fail(self._place(event), sentence)
                root = self._node(next(self._events))
        return root or Node(None, Place(self.name))

    def _place(self, event: Any) -> Place:
        return Place(self.name, event.start_mark.line + 1, event.start_mark.column + 1)

    def _node(self, event: Any, *, is_key: bool = False) -> Node:
        place, left = self._place(event), self.limits.nodes
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event.anchor or "", place)
        if isinstance(event, yaml.ScalarEvent):
            self.limits.spend(place, weight_of(event.value))
            node = self._scalar(event, place)
        else:
            node = self._collection(event, place, is_key=is_key)
        if event.anchor:
            self._anchors[event.anchor] = node, left - self.limits.nodes
        return node

    def _collection(self, event: Any, place: Place, *, is_key: bool) -> Node:
        is_mapping = isinstance(event, yaml.MappingStartEvent)
        if event.tag not in (None, "!", _TAG + ("map" if is_mapping else "seq")):
            raise _tagged(event, place)
        self.limits.spend(place)
        self.limits.descend(place, len(self._open) + 1)
        if is_key:
            index = event.start_mark.index
            if is_mapping and self.text[max(index - 1, 0) : index + 1] == "{{":
                sentence = "nothing is replaced in a spec, and `{{` cannot begin a text: write the value itself"
                raise fail(self._open[-1], sentence)
            raise fail(place, f"a key must be text, not {'a mapping' if is_mapping else 'a list'}")
        if event.anchor:
            self._anchors[event.anchor] = None
        self._open.append(place)
        value = self._entries() if is_mapping else tuple(map(self._node, self._members()))
        self._open.pop()
        return Node(value, place)

    def _members(self) -> Iterator[Any]:
        """Yield the first event of each member of the innermost open list or mapping."""
        for event in self._events:
            if isinstance(event, yaml.CollectionEndEvent):
                return
            yield event

    def _entries(self) -> dict[str, Entry]:
        entries: dict[str, Entry] = {}
        for event in self._members():
            node = self._node(event, is_key=True)
            key = _key(node, entries)
            entries[key] = Entry(node.place, self._node(next(self._events)))
        return entries

    def _alias(self, anchor: str, place: Place) -> Node:
        if (known := self._anchors.get(anchor)) is None:
            what = "itself" if anchor in self._anchors else "nothing above it"
            raise fail(place, f"{quoted(f'*{anchor}', 'this')} refers to {what}")
        node, values = known
        self.limits.spend(place, values)
        self.limits.descend(place, len(self._open) + _height(node))
        return Node(node.value, place, node.cut)

    def _scalar(self, event: Any, place: Place) -> Node:
        tag = event.tag
        text = self.limits.text(event.value, place)
        cut = None if event.style else self._comment_after(event)
        if tag is None:
            return Node(self._resolve(text, place) if event.implicit[0] else text, place, cut)
        if tag in ("!", _TAG + "str"):
            return Node(text, place, cut)
        wanted = _TYPES.get(tag.removeprefix(_TAG)) if tag.startswith(_TAG) else None
        if wanted is None:
            raise _tagged(event, place)
        value = self._resolve(text, place)
        if type(value) not in wanted:
            shown = quoted(text, "the value")
            raise fail(place, f"{shown} is {kind_of(value)}, which is not what its tag says")
        return Node(value, place)

    def _resolve(self, text: str, place: Place) -> str | int | float | bool | None:
        """Return what a plain (unquoted) scalar means. Raises `DocumentError` for a number that is too long."""
        if text in _CONSTANTS:
            return _CONSTANTS[text]
        if text[0] not in "-+.0123456789":
            return text
        if _DECIMAL.match(text):
            return self.limits.integer(text.replace("_", ""), place)
        if other := _OTHER_BASE.match(text):
            sign, base, digits = other.groups()
            digits = digits.replace("_", "")
            if base == "x" or set(digits) <= {"0", "1"}:
                return self.limits.integer(sign + digits, place, 16 if base == "x" else 2)
        if _FLOAT.match(text):
            return float(text.replace("_", ""))
        if _SPECIAL_FLOAT.match(text):
            return float(text.replace(".", ""))
        return text

    def _comment_after(self, event: Any) -> Place | None:
        """Return where a comment cuts an unquoted text off: in its line, or indented below like more of the text."""
        end = event.end_mark
        if not (found := _COMMENT.match(self.text, end.index)):
            return None
        if found["below"] is None:
            return Place(self.name, end.line + 1, end.column + found.end() - end.index)
        is_more = self._open and len(found["below"]) >= self._open[-1].column
        return Place(self.name, end.line + 2, len(found["below"]) + 1) if is_more else None


def _height(node: Node) -> int:
    """Return how many levels of lists and mappings a value has, with its own."""
    if not isinstance(node.value, (tuple, dict)):
        return 0
    return 1 + max(map(_height, node.inner), default=0)


def _key(node: Node, entries: dict[str, Entry]) -> str:
    if node.value == "<<":
        sentence = "`<<` (a YAML merge) is not supported: put what is shared into `_defaults.yaml`"
        raise fail(node.place, sentence)
    if not isinstance(node.value, str):
        raise fail(node.place, f"a key must be text, not {kind_of(node.value)}: put it in quotes")
    if first := entries.get(node.value):
        raise twice(node.value, node.place, first)
    return node.value


def _tagged(event: Any, place: Place) -> DocumentError:
    shown = quoted(event.tag.replace(_TAG, "!!"), "here")
    return fail(place, f"the tag {shown} is not supported: write the value as it is")
