"""Values with places, and the words for what is wrong with them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.documents import Place, Problem, find, kind_of, nearest, plain

from .builders import node

SCALARS = st.none() | st.booleans() | st.integers() | st.text()
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20
)


@given(VALUES)
def test_a_value_with_places_is_the_same_value_without_them(value: object) -> None:
    """Keeping line and column for every value changes nothing of what the document says."""
    assert plain(node(value)) == value


def test_a_problem_reads_as_file_line_column_sentence_and_suggestion() -> None:
    """People read a problem in the form that editors and terminals turn into a link."""
    problem = Problem(Place("specs/a.yaml", 3, 7), "promt", "`promt` is not a key", "prompt")
    assert str(problem) == "specs/a.yaml:3:7: `promt` is not a key (did you mean `prompt`?)"


def test_find_stops_at_the_nearest_value_that_exists() -> None:
    """A problem about something that was left out points at what surrounds it."""
    document = node({"a": [1, {"b": 2}]})
    assert find(document, ["a", 1, "b"]).value == 2
    assert plain(find(document, ["a", 1, "missing", 4])) == {"b": 2}
    assert plain(find(document, ["a", 9])) == [1, {"b": 2}]


@pytest.mark.parametrize(
    ("word", "meant", "reason"),
    [
        ("promt", "prompt", "a letter is missing"),
        ("Prompt", "prompt", "capitals are typed by habit"),
        ("PROMPT", "prompt", "so are shouting ones"),
        ("zzz", "", "nothing is near"),
        (17, "", "a number may stand where a word belongs"),
        ("p" * 100_000, "", "a huge word costs no time"),
    ],
)
def test_the_word_that_was_probably_meant(word: object, meant: str, reason: str) -> None:
    """A slip is answered with the word next to it, and with none where nothing is near."""
    assert nearest(word, ["prompt", "mode"]) == meant, reason


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("x", "text"),
        (True, "yes or no"),
        (1, "a whole number"),
        (1.5, "a number"),
        (None, "nothing"),
        ([], "a list"),
        ({}, "a mapping"),
    ],
)
def test_every_kind_of_value_has_a_word(value: object, words: str) -> None:
    """A sentence about a wrong value names its kind as people do, not as Python does."""
    assert kind_of(value) == words
