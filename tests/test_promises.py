"""Every test says in a sentence what it promises: read from the tests' own sources."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parent
SENTENCE = re.compile(r"[A-Z0-9`\"'].*[.?!)]", re.DOTALL)
SHORTEST = 4
"""Words that a promise takes at least."""


def promises() -> Iterator[tuple[str, str, str]]:
    """Place, name and docstring of each test function."""
    for path in sorted(TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if node.name.startswith("test_"):
                place = f"{path.relative_to(TESTS.parent)}:{node.lineno}"
                yield place, node.name, ast.get_docstring(node) or ""


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower().replace("_", " "))


def test_each_test_says_what_it_promises() -> None:
    """Whoever breaks a test reads first what users would lose."""
    silent = [
        place
        for place, _, promise in promises()
        if not SENTENCE.fullmatch(promise) or len(words(promise)) < SHORTEST
    ]
    assert silent == []


def test_no_promise_repeats_the_name_of_its_test_or_another_promise() -> None:
    """A promise says more than the name above it, and each is made once."""
    told = list(promises())
    assert [place for place, name, said in told if words(said) == words(name)[1:]] == []
    often = {said for said, count in Counter(said for _, _, said in told).items() if count > 1}
    assert sorted((said, place) for place, _, said in told if said in often) == []
