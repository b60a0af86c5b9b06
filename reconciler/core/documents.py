"""Values of YAML, JSON or TOML with their places in the file, their limits, and the problems found in them."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from reconciler.core.errors import SpecError

LONGEST_TEXT = 65_536  # characters of one value; a prompt has at most 2,500
_CHARACTERS_OF_A_VALUE = 256
_TYPE_NAMES = {str: "text", bool: "yes or no", int: "a whole number", float: "a number"}
_TYPE_NAMES |= {list: "a list", tuple: "a list", dict: "a mapping", type(None): "nothing"}

_WORDS = re.compile(r"[*!]{0,2}[A-Za-z]{1,12}(?:[ _.:/-][A-Za-z]{1,12})*")
_LONGEST_WORDS = 40  # characters of them together
_UNSPEAKABLE = re.compile("[\x00\ud800-\udfff]")  # no UTF-8, or no database text


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A position in a file of the project."""

    file: str  # relative to the root, with forward slashes
    line: int = 1  # from 1
    column: int = 1  # from 1, in characters

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


def place_at(text: str, offset: int, name: str) -> Place:
    """Return the place of a character in the text of a file."""
    return Place(name, text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset))


@dataclass(frozen=True, slots=True)
class Node:
    """A value with its place: a scalar, a tuple of nodes, or a mapping of key to `Entry`."""

    value: str | int | float | bool | tuple[Node, ...] | Mapping[str, Entry] | None
    place: Place
    cut: Place | None = None  # of a comment that ends an unquoted text, perhaps by mistake

    @property
    def inner(self) -> Iterator[Node]:
        """The values of a list or mapping, in order; none of a scalar."""
        if isinstance(self.value, tuple):
            yield from self.value
        elif isinstance(self.value, Mapping):
            yield from (entry.node for entry in self.value.values())


@dataclass(frozen=True, slots=True)
class Entry:
    """A key of a mapping: where the key stands, and its value."""

    key: Place
    node: Node


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """A problem in a file: its place, a sentence, and the word that was probably meant."""

    place: Place
    key: str
    message: str
    suggestion: str = ""

    def __str__(self) -> str:
        meant = f" (did you mean `{self.suggestion}`?)" if self.suggestion else ""
        return f"{self.place}: {self.message}{meant}"


class DocumentError(SpecError):
    """A file cannot be read as a document."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


def fail(place: Place, message: str, key: str = "", suggestion: str = "") -> DocumentError:
    """Return the error to raise for a sentence at a place."""
    return DocumentError(Problem(place, key, message, suggestion))


def quoted(word: str, otherwise: str = "") -> str:
    """Return a word between backquotes; `otherwise` for a text that could be a secret, such as a password."""
    return f"`{word}`" if len(word) <= _LONGEST_WORDS and _WORDS.fullmatch(word) else otherwise


def twice(key: str, place: Place, first: Entry) -> DocumentError:
    """Return the error to raise for a repeated key of a mapping."""
    sentence = f"{quoted(key, 'a key')} is written twice; first in line {first.key.line}"
    return fail(place, sentence, quoted(key) and key)


@dataclass(slots=True)
class Limits:
    """The limits of one document; aliases count as often as they are used. All methods raise `DocumentError`."""

    nodes: int = 10_000
    depth: int = 50
    digits: int = 64

    def spend(self, place: Place, nodes: int = 1) -> None:
        """Count values."""
        self.nodes -= nodes
        if self.nodes < 0:
            raise fail(place, "the document has too many values: at most 10,000 are allowed")

    def descend(self, place: Place, depth: int) -> None:
        """Check how deep a list or mapping lies."""
        if depth > self.depth:
            most = f"at most {self.depth} levels are allowed"
            raise fail(place, f"lists and mappings are nested too deeply: {most}")

    def text(self, text: str, place: Place) -> str:
        """Return a text that JSON, SQLite and the API can hold."""
        if len(text) > LONGEST_TEXT:
            sentence = f"a text of {len(text):,} characters: at most {LONGEST_TEXT:,} are allowed (media are named by file or URL, not written out)"
            raise fail(place, sentence)
        if bad := _UNSPEAKABLE.search(text):
            what = "a NUL character" if bad.group() == "\0" else "half of a surrogate pair"
            raise fail(place, f"the text holds {what}, which no value may")
        return text

    def integer(self, digits: str, place: Place, base: int = 10) -> int:
        """Return an integer, exactly."""
        if len(digits) > self.digits:
            sentence = f"a number of {len(digits):,} digits: at most {self.digits} are allowed"
            raise fail(place, sentence)
        return int(digits, base)


def waiting_for(wrong: Mapping[str, Iterable[Problem]]) -> Counter[Problem]:
    """Return the problems of specs that stand in another file, such as a defaults file, and how many specs wait."""
    placed = ((file, problem) for file, found in wrong.items() for problem in found)
    return Counter(problem for file, problem in placed if problem.place.file != file)


def waiting_words(specs: int) -> str:
    """Return how many specs wait for a problem, to follow its sentence; empty for none."""
    return f" ({specs:,} spec{'s wait' if specs != 1 else ' waits'} for it)" if specs else ""


def plain(node: Node, *, only_said: bool = False) -> object:
    """Return the value without places, as `json` would give it; `only_said`: without keys that are null."""
    if isinstance(node.value, tuple):
        return [plain(item, only_said=only_said) for item in node.value]
    if isinstance(node.value, Mapping):
        inner = {key: entry.node for key, entry in node.value.items()}
        kept = {key: one for key, one in inner.items() if one.value is not None or not only_said}
        return {key: plain(one, only_said=only_said) for key, one in kept.items()}
    return node.value


def merged(above: Mapping[str, Entry], nearer: Mapping[str, Entry]) -> dict[str, Entry]:
    """Return two mappings as one: the nearer one wins, but for keys that it leaves null."""
    wins = {
        key: entry
        for key, entry in nearer.items()
        if entry.node.value is not None or entry.node.cut or key not in above
    }
    return {**above, **wins}


def texts(node: Node) -> Iterator[Node]:
    """Yield every text in a value, at any depth."""
    if isinstance(node.value, str):
        yield node
    for one in node.inner:
        yield from texts(one)


def weight(node: Node) -> int:
    """Return the number of values in a value, as a measure of work; a long text counts as several."""
    return weight_of(node.value) + sum(map(weight, node.inner))


def weight_of(value: object) -> int:
    """Return the weight of a value without the values in it."""
    return 1 + (len(value) // _CHARACTERS_OF_A_VALUE if isinstance(value, str) else 0)


def find(node: Node, path: Iterable[str | int]) -> Node:
    """Return the node at this path of keys and indexes, or the nearest one above it that exists."""
    for step in path:
        if isinstance(node.value, Mapping) and isinstance(step, str) and step in node.value:
            node = node.value[step].node
        elif isinstance(node.value, tuple) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
        else:
            break
    return node


def kind_of(value: object) -> str:
    """Return the type of a value, for people."""
    return _TYPE_NAMES.get(type(value), "something else")


def nearest(word: object, allowed: Iterable[str]) -> str:
    """Return the allowed word that was probably meant, or an empty string."""
    matches = difflib.get_close_matches(str(word).lower()[:64], list(allowed), n=1, cutoff=0.6)
    return matches[0] if matches else ""


_JOINS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[\s-]+")
_SAY_NOTHING = frozenset({"id", "info", "list", "name", "original", "task", "url"})  # in many keys


def nearest_key(word: str, allowed: Iterable[str]) -> str:
    """Return the key that was probably meant: one that begins or ends with the word, else one that looks like it."""
    keys = list(allowed)
    part = _JOINS.sub("_", word[:64]).lower().strip("_")
    if part not in keys and part not in _SAY_NOTHING:
        for one in filter(None, (part, part.removesuffix("s"))):
            longer = [key for key in keys if key.startswith(f"{one}_") or key.endswith(f"_{one}")]
            if len(longer) == 1:
                return longer[0]
    return nearest(word, keys)
