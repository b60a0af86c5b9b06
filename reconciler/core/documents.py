"""Values that remember where they were written, and the problems found in them.

A reader in `workspace` turns YAML, JSON and TOML into `Node`s; everything after that speaks of places and never
of formats. A defaults file and a spec merge without losing which of them said what.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

_TYPE_NAMES = {
    str: "text",
    bool: "yes or no",
    int: "a whole number",
    float: "a number",
    type(None): "nothing",
}


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A position in a file of the project."""

    file: str  # relative to the root, with forward slashes
    line: int = 1  # from 1
    column: int = 1  # from 1, in characters

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Node:
    """A value with its place: a scalar, a tuple of nodes, or a mapping of key to `Entry`."""

    value: str | int | float | bool | tuple[Node, ...] | Mapping[str, Entry] | None
    place: Place
    cut: Place | None = (
        None  # where a comment ends an unquoted text that may have been meant to go on
    )


@dataclass(frozen=True, slots=True)
class Entry:
    """A key of a mapping: where the key stands, and its value."""

    key: Place
    node: Node


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """Something wrong in a file: one sentence at a place, and the word that was probably meant."""

    place: Place
    key: str
    message: str
    suggestion: str = ""

    def __str__(self) -> str:
        meant = f" (did you mean `{self.suggestion}`?)" if self.suggestion else ""
        return f"{self.place}: {self.message}{meant}"


def waiting_for(wrong: Mapping[str, Iterable[Problem]]) -> Counter[Problem]:
    """Return the problems of files (file -> what is wrong) that stand in another file, and how many wait for each."""
    return Counter(
        problem for file, found in wrong.items() for problem in found if problem.place.file != file
    )


def waiting_words(specs: int) -> str:
    """Return how many specs wait for a problem to be mended, to go on after its sentence; nothing where none does."""
    return f" ({specs:,} spec{'s wait' if specs != 1 else ' waits'} for it)" if specs else ""


def plain(node: Node) -> object:
    """Return the value without its places: scalars, lists and dicts, as `json` would give them."""
    if isinstance(node.value, tuple):
        return [plain(item) for item in node.value]
    if isinstance(node.value, Mapping):
        return {key: plain(entry.node) for key, entry in node.value.items()}
    return node.value


def said(node: Node) -> object:
    """Return what `plain` does, without the keys whose value is nothing: those count as left out."""
    if isinstance(node.value, tuple):
        return [said(item) for item in node.value]
    if isinstance(node.value, Mapping):
        entries = node.value.items()
        return {key: said(entry.node) for key, entry in entries if entry.node.value is not None}
    return node.value


def merged(above: Mapping[str, Entry], nearer: Mapping[str, Entry]) -> dict[str, Entry]:
    """Return what two mappings say together: the nearer one wins, but for keys that it leaves out by saying nothing."""
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
    elif isinstance(node.value, tuple):
        for item in node.value:
            yield from texts(item)
    elif isinstance(node.value, Mapping):
        for entry in node.value.values():
            yield from texts(entry.node)


_CHARACTERS_OF_A_VALUE = 256


def weight(node: Node) -> int:
    """Return how much there is to go through in a value: its values, of which a long text counts as several."""
    if isinstance(node.value, tuple):
        return 1 + sum(map(weight, node.value))
    if isinstance(node.value, Mapping):
        return 1 + sum(weight(entry.node) for entry in node.value.values())
    return 1 + (len(node.value) // _CHARACTERS_OF_A_VALUE if isinstance(node.value, str) else 0)


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
    """Return what a value is, in a person's words."""
    if isinstance(value, (list, tuple)):
        return "a list"
    if isinstance(value, Mapping):
        return "a mapping"
    return _TYPE_NAMES.get(type(value), "something else")


def nearest(word: object, allowed: Iterable[str]) -> str:
    """Return the allowed word that was probably meant, or an empty string."""
    matches = difflib.get_close_matches(str(word).lower()[:64], list(allowed), n=1, cutoff=0.6)
    return matches[0] if matches else ""


_JOINS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[\s-]+")
_SAY_NOTHING = frozenset(
    {"id", "info", "list", "name", "original", "task", "url"}
)  # of a key by themselves


def nearest_key(word: str, allowed: Iterable[str]) -> str:
    """Return the key that was probably meant: one that begins or ends with the word, before one that looks like it."""
    keys = list(allowed)
    part = _JOINS.sub("_", word[:64]).lower().strip("_")
    if part not in keys and part not in _SAY_NOTHING:
        single = part.removesuffix("s")
        for one in filter(None, (part, single)):
            longer = [key for key in keys if key.startswith(f"{one}_") or key.endswith(f"_{one}")]
            if len(longer) == 1:
                return longer[0]
    return nearest(word, keys)
