"""YAML into `Node`s, from the parser's events: the only importer of the YAML library.

The C parser reads; its composer is not used, because that recurses as deep as a document wants and forgets
what an alias costs. Scalars are YAML 1.1's, except for the surprises: dates, sexagesimal (`1:30`) and octal
(`012`) numbers stay text, so that nobody's prompt turns into a date.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from reconciler.core.documents import Entry, Node, Place, kind_of
from reconciler.workspace.reading import (
    DocumentError,
    Limits,
    checked_integer,
    checked_text,
    fail,
    quoted,
)

_CONSTANTS: dict[str, bool | None] = dict.fromkeys(("", "~", "null", "Null", "NULL"))
for _word, _truth in (
    ("yes", True),
    ("on", True),
    ("true", True),
    ("no", False),
    ("off", False),
    ("false", False),
):
    _CONSTANTS |= dict.fromkeys((_word, _word.title(), _word.upper()), _truth)

_DECIMAL = re.compile(r"[-+]?(?:0|[1-9][0-9_]*)\Z")
_OTHER_BASE = re.compile(r"([-+]?)0([xb])(?=_*+[0-9a-fA-F])([0-9a-fA-F_]++)\Z")
_FLOAT = re.compile(r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?\Z")
_SPECIAL_FLOAT = re.compile(r"([-+]?)\.(inf|Inf|INF)\Z|\.(?:nan|NaN|NAN)\Z")

_COMMENT = re.compile(r"[ \t]+#|[ \t]*\r?\n(?P<below>[ \t]+)#")

# After any of libyaml's line breaks. It compares each with all before it, within one call that nothing interrupts.
_TAG_DIRECTIVE = re.compile(r"(?:^|(?<=[\r\x85\u2028\u2029]))%TAG", re.MULTILINE)
_BREAK = re.compile(r"\r\n|[\r\n\x85\u2028\u2029]")
_MOST_DIRECTIVES = 10  # no spec needs one: its tags are refused

_CHARACTERS_OF_A_VALUE = (
    256  # a long text counts as several, so that aliases cannot repeat it for ever
)
_TAG = "tag:yaml.org,2002:"
_TYPES: dict[str, tuple[type, ...]] = {
    "bool": (bool,), "int": (int,), "float": (float, int), "null": (type(None),)
}  # fmt: skip

# Every message of libyaml's scanner and parser that a text can bring about. Where one has several causes, what was
# being read ("while scanning …") tells which: its last word stands before the message.
_DIRECTIVE = "a line that begins with `%` is a directive to YAML: put the text in quotes"
_TAG_SIGN = "a value that begins with `!` is a tag to YAML: put the text in quotes"
_ANCHOR_SIGN = "a value that begins with `&` or `*` is a reference to YAML: put the text in quotes"
_TAB = "a tab where spaces must indent: replace it by spaces"
_NO_ESCAPE = "not valid YAML: a backslash that begins no escape; write `\\\\`, or put the text in single quotes"
_NOT_YAML = (
    "not valid YAML: put texts in quotes, and check the brackets and the indentation here and above"
)
_WORDS = {
    "anchor: did not find expected alphabetic or numeric character": _ANCHOR_SIGN,
    "alias: did not find expected alphabetic or numeric character": _ANCHOR_SIGN,
    "did not find expected alphabetic or numeric character": _DIRECTIVE,
    "could not find expected directive name": _DIRECTIVE,
    "found unexpected non-alphabetical character": _DIRECTIVE,
    "found unknown directive name": _DIRECTIVE,
    "did not find expected version number": _DIRECTIVE,
    "did not find expected digit or '.' character": _DIRECTIVE,
    "found extremely long version number": _DIRECTIVE,
    "found incompatible YAML document": _DIRECTIVE,
    "found duplicate %YAML directive": _DIRECTIVE,
    "found duplicate %TAG directive": _DIRECTIVE,
    "did not find expected whitespace": _DIRECTIVE,
    "directive: did not find expected whitespace or line break": _DIRECTIVE,
    "directive: did not find expected comment or line break": _DIRECTIVE,
    "directive: did not find expected '!'": _DIRECTIVE,
    "directive: did not find expected tag URI": _DIRECTIVE,
    "directive: did not find URI escaped octet": _DIRECTIVE,
    "did not find expected whitespace or line break": _TAG_SIGN,
    "did not find expected '!'": _TAG_SIGN,
    "did not find the expected '>'": _TAG_SIGN,
    "did not find expected tag URI": _TAG_SIGN,
    "did not find URI escaped octet": _TAG_SIGN,
    "found an incorrect leading UTF-8 octet": _TAG_SIGN,
    "found an incorrect trailing UTF-8 octet": _TAG_SIGN,
    "found a tab character where an indentation space is expected": _TAB,
    "found a tab character that violates indentation": _TAB,
    "did not find expected comment or line break": "nothing can follow `|` or `>` in its line: begin the text in the next line, or put it in quotes",
    "found an indentation indicator equal to 0": "`|` and `>` may be followed by 1 to 9, not by 0",
    "did not find expected <document start>": "something follows that belongs to nothing above it: check the indentation, and put texts in quotes",
    "block sequence entries are not allowed in this context": "a `-` where no list can begin: put the text in quotes, or begin the list in a line of its own",
    "mapping keys are not allowed in this context": "a `?` where no key can stand: put the text in quotes",
    "found unexpected ':'": "a `:` inside brackets: put the text in quotes",
    "found unexpected document indicator": "a line that begins with `---` or `...` inside a quoted text: indent it",
    "found unknown escape character": _NO_ESCAPE,
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


@dataclass(slots=True)
class _Open:
    """A list or mapping whose end has not been read yet."""

    place: Place
    anchor: str | None
    is_mapping: bool
    items: list[Node] = field(default_factory=list)
    entries: dict[str, Entry] = field(default_factory=dict)
    key: tuple[str, Place] | None = None  # read, and waiting for its value
    weight: int = 1  # values in it, itself included, aliases written out
    height: int = 1  # levels in it, itself included


@dataclass(slots=True)
class _Anchored:
    node: Node
    weight: int
    height: int


def read_yaml(text: str, name: str, limits: Limits) -> Node:
    """Return the one document in a YAML text; an empty text is nothing. Raises `DocumentError`."""
    _check_directives(text, name)
    composer = _Composer(text, name, limits)
    try:
        for event in _events(text):
            composer.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        if error.context_mark and (mark is None or mark.index >= len(text.rstrip())):
            mark = error.context_mark  # what was not closed, rather than the end of the file
        raise fail(_place(name, mark), _sentence(error)) from error
    except yaml.reader.ReaderError as error:
        raise fail(_place_of_character(text, error, name), _unprintable(error)) from error
    return composer.root or Node(None, Place(name))


def _sentence(error: yaml.MarkedYAMLError) -> str:
    problem, within = error.problem or "", (error.context or "").rpartition(" ")[2]
    return _WORDS.get(f"{within}: {problem}", _WORDS.get(problem, _NOT_YAML))


def _check_directives(text: str, name: str) -> None:
    """Raise `DocumentError` at the first directive that is one too many."""
    directives = _TAG_DIRECTIVE.finditer(text)
    if (one := next(itertools.islice(directives, _MOST_DIRECTIVES, None), None)) is not None:
        before = text[: one.start()]
        place = Place(name, len(_BREAK.findall(before)) + 1)
        raise fail(
            place,
            f"more than {_MOST_DIRECTIVES} lines begin with `%TAG`: remove them, since tags are not supported",
        )


def _events(text: str) -> Iterator[Any]:
    loader = yaml.CSafeLoader(text)
    try:
        while (event := loader.get_event()) is not None:
            yield event
            if isinstance(event, yaml.StreamEndEvent):
                return
    finally:
        loader.dispose()


class _Composer:
    """Builds nodes from events with a stack of its own; never recursive."""

    def __init__(self, text: str, name: str, limits: Limits) -> None:
        self.text = text
        self.name = name
        self.limits = limits
        self.root: Node | None = None
        self._documents = 0
        self._open: list[_Open] = []
        self._anchors: dict[str, _Anchored | None] = {}  # None: not closed yet

    def take(self, event: Any) -> None:
        """Take the next event. Raises `DocumentError`."""
        place = _place(self.name, event.start_mark)
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise fail(place, "a second document (`---`): a file holds one")
        elif isinstance(event, yaml.ScalarEvent):
            weight = 1 + len(event.value) // _CHARACTERS_OF_A_VALUE
            self.limits.spend(place, weight)
            self._add(self._scalar(event, place), event.anchor, weight)
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event.anchor or "", place)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._begin(event, place)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._end()

    def _begin(self, event: Any, place: Place) -> None:
        is_mapping = isinstance(event, yaml.MappingStartEvent)
        if event.tag not in (None, "!", _TAG + ("map" if is_mapping else "seq")):
            raise _tagged(event, place)
        self.limits.spend(place)
        self.limits.descend(place, len(self._open) + 1)
        if self._open and self._open[-1].is_mapping and self._open[-1].key is None:
            index = event.start_mark.index
            if is_mapping and self.text[max(index - 1, 0) : index + 1] == "{{":
                sentence = "nothing is replaced in a spec, and `{{` cannot begin a text: write the value itself"
                raise fail(self._open[-1].place, sentence)
            raise fail(place, f"a key must be text, not {'a mapping' if is_mapping else 'a list'}")
        if event.anchor:
            self._anchors[event.anchor] = None
        self._open.append(_Open(place, event.anchor, is_mapping))

    def _end(self) -> None:
        done = self._open.pop()
        node = Node(done.entries if done.is_mapping else tuple(done.items), done.place)
        self._add(node, done.anchor, done.weight, done.height)

    def _alias(self, anchor: str, place: Place) -> None:
        if anchor not in self._anchors:
            raise fail(place, f"{quoted(f'*{anchor}', 'this')} refers to nothing above it")
        anchored = self._anchors[anchor]
        if anchored is None:
            raise fail(place, f"{quoted(f'*{anchor}', 'this')} refers to itself")
        self.limits.spend(place, anchored.weight)
        self.limits.descend(place, len(self._open) + anchored.height)
        node = Node(anchored.node.value, place, anchored.node.cut)
        self._add(node, None, anchored.weight, anchored.height)

    def _add(self, node: Node, anchor: str | None, weight: int = 1, height: int = 0) -> None:
        """Put a finished node where it belongs: under the key that waits, into the list, or at the root."""
        if anchor:
            self._anchors[anchor] = _Anchored(node, weight, height)
        if not self._open:
            self.root = node
            return
        parent = self._open[-1]
        parent.weight += weight
        parent.height = max(parent.height, height + 1)
        if not parent.is_mapping:
            parent.items.append(node)
        elif parent.key is None:
            parent.key = (_key(node, parent), node.place)
        else:
            key, place = parent.key
            parent.entries[key] = Entry(place, node)
            parent.key = None

    def _scalar(self, event: Any, place: Place) -> Node:
        tag = event.tag
        text = checked_text(event.value, place)
        cut = None if event.style else self._comment_after(event)
        if tag is None:
            return Node(resolve(text, place) if event.implicit[0] else text, place, cut)
        if tag in ("!", _TAG + "str"):
            return Node(text, place, cut)
        wanted = _TYPES.get(tag.removeprefix(_TAG)) if tag.startswith(_TAG) else None
        if wanted is None:
            raise _tagged(event, place)
        value = resolve(text, place)
        if type(value) not in wanted:
            shown = quoted(text, "the value")
            raise fail(place, f"{shown} is {kind_of(value)}, which is not what its tag says")
        return Node(value, place)

    def _comment_after(self, event: Any) -> Place | None:
        """Return where a comment ends an unquoted text: in its line, or indented below it like more of the text."""
        found = _COMMENT.match(self.text, event.end_mark.index)
        if found is None:
            return None
        line, end = event.end_mark.line + 1, event.end_mark
        column = end.column + found.end() - end.index
        if found["below"] is not None:
            line, column = line + 1, len(found["below"]) + 1
            if not self._open or len(found["below"]) < self._open[-1].place.column:
                return None
        return Place(self.name, line, column)


def _key(node: Node, mapping: _Open) -> str:
    if node.value == "<<":
        raise fail(
            node.place,
            "`<<` (a YAML merge) is not supported: put what is shared into `_defaults.yaml`",
        )
    if not isinstance(node.value, str):
        raise fail(node.place, f"a key must be text, not {kind_of(node.value)}: put it in quotes")
    if node.value in mapping.entries:
        first = mapping.entries[node.value].key
        shown = quoted(node.value, "a key")
        sentence = f"{shown} is written twice; first in line {first.line}"
        raise fail(node.place, sentence, quoted(node.value) and node.value)
    return node.value


def resolve(text: str, place: Place) -> str | int | float | bool | None:
    """Return what a plain (unquoted) scalar means. Raises `DocumentError` for a number that is too long."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if text[0] not in "-+.0123456789":
        return text
    if _DECIMAL.match(text):
        return checked_integer(text.replace("_", ""), place)
    if other := _OTHER_BASE.match(text):
        sign, base, digits = other.groups()
        digits = digits.replace("_", "")
        if base == "x" or set(digits) <= {"0", "1"}:
            return checked_integer(sign + digits, place, 16 if base == "x" else 2)
    if _FLOAT.match(text):
        return float(text.replace("_", ""))
    if special := _SPECIAL_FLOAT.match(text):
        return float(f"{special.group(1) or ''}{'inf' if special.group(2) else 'nan'}")
    return text


def _place(name: str, mark: Any) -> Place:
    return Place(name, mark.line + 1, mark.column + 1) if mark else Place(name)


def _tagged(event: Any, place: Place) -> DocumentError:
    shown = quoted(event.tag.replace(_TAG, "!!"), "here")
    return fail(place, f"the tag {shown} is not supported: write the value as it is")


def _unprintable(error: Any) -> str:
    return f"the character U+{error.character:04X} cannot stand in YAML as it is"


def _place_of_character(text: str, error: Any, name: str) -> Place:
    """Find the character in the text: the reader's own position counts bytes of its buffer."""
    offset = text.find(chr(error.character)) if isinstance(error.character, int) else 0
    before = text[: max(offset, 0)]
    return Place(name, before.count("\n") + 1, len(before) - before.rfind("\n"))
