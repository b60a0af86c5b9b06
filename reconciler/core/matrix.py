"""A spec's matrix: its axes, and what is wrong with them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping

from reconciler.core.documents import Entry, Node, Problem, kind_of, nearest_key, plain
from reconciler.core.spec_model import KEYS, MOST_RESULTS, NOT_MULTIPLIED

_MULTIPLIED = tuple(key for key in KEYS if key not in NOT_MULTIPLIED)


def read_axes(entry: Entry | None) -> tuple[dict[str, tuple[Node, ...]], list[Problem]]:
    """Return the matrix as key to values, in the order written, and what is wrong with it."""
    if entry is None or entry.node.value is None:
        return {}, []
    if not isinstance(entry.node.value, Mapping):
        sentence = (
            f"`matrix` must be a mapping of keys to lists; this is {kind_of(plain(entry.node))}"
        )
        return {}, [Problem(entry.node.place, "matrix", sentence)]
    axes = {
        key: axis.node.value
        for key, axis in entry.node.value.items()
        if isinstance(axis.node.value, tuple)
    }
    problems = [found for key, axis in entry.node.value.items() for found in _faults(key, axis)]
    size = math.prod(len(values) for values in axes.values())
    if size > MOST_RESULTS:
        sentence = f"`matrix` makes {size} combinations: at most {MOST_RESULTS} are allowed"
        problems.append(Problem(entry.key, "matrix", sentence))
    return axes, problems


def _faults(key: str, axis: Entry) -> Iterator[Problem]:
    """Yield what is wrong with one axis."""
    name, values = f"matrix.{key}", axis.node.value
    if key not in _MULTIPLIED:
        sentence = f"`{key}` cannot be multiplied by a matrix"
        yield Problem(axis.key, name, sentence, nearest_key(key, _MULTIPLIED))
    elif not isinstance(values, tuple) or not values:
        yield Problem(axis.node.place, name, f"`{name}` must be a list of at least one value")
    else:
        seen: set[str] = set()
        for node in values:
            if node.value is None and not node.cut:
                yield Problem(node.place, name, f"`{name}` lists an empty value: write the value")
            text = json.dumps(plain(node), sort_keys=True)
            if text in seen:
                yield Problem(node.place, name, f"`{name}` lists {text[:80]} twice")
            seen.add(text)
