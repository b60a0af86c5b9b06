"""A spec's matrix: its axes, and what is wrong with them."""

from __future__ import annotations

import json
from collections.abc import Mapping

from reconciler.core.documents import Entry, Node, Problem, kind_of, nearest, plain
from reconciler.core.spec_model import KEYS, MOST_RESULTS, NOT_MULTIPLIED


def read_axes(entry: Entry | None) -> tuple[dict[str, tuple[Node, ...]], list[Problem]]:
    """Return the matrix as key to values, in the order written, and what is wrong with it."""
    if entry is None or entry.node.value is None:
        return {}, []
    if not isinstance(entry.node.value, Mapping):
        return {}, [
            Problem(
                entry.node.place,
                "matrix",
                f"`matrix` is a mapping of keys to lists; this is {kind_of(plain(entry.node))}",
            )
        ]
    axes: dict[str, tuple[Node, ...]] = {}
    problems = []
    for key, axis in entry.node.value.items():
        if key in NOT_MULTIPLIED or key not in KEYS:
            allowed = [name for name in KEYS if name not in NOT_MULTIPLIED]
            problems.append(
                Problem(
                    axis.key,
                    f"matrix.{key}",
                    f"`{key}` cannot be multiplied by a matrix",
                    nearest(key, allowed),
                )
            )
        elif not isinstance(axis.node.value, tuple) or not axis.node.value:
            problems.append(
                Problem(
                    axis.node.place,
                    f"matrix.{key}",
                    f"`matrix.{key}` must be a list of at least one value",
                )
            )
        else:
            axes[key] = axis.node.value
            seen: set[str] = set()
            for node in axis.node.value:
                text = json.dumps(plain(node), sort_keys=True)
                if text in seen:
                    problems.append(
                        Problem(node.place, f"matrix.{key}", f"`matrix.{key}` lists {text} twice")
                    )
                seen.add(text)
    size = 1
    for values in axes.values():
        size *= len(values)
    if size > MOST_RESULTS:
        problems.append(
            Problem(
                entry.key,
                "matrix",
                f"`matrix` makes {size} combinations: at most {MOST_RESULTS} are allowed",
            )
        )
    return axes, problems
