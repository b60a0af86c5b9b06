"""What the readers of every format share: the error, the limits, and what a scalar may be. It opens no file."""

from __future__ import annotations

import re
from dataclasses import dataclass

from reconciler.core.documents import Place, Problem
from reconciler.core.errors import SpecError

LONGEST_TEXT = 65_536  # characters of one value; a prompt has at most 2,500
LONGEST_NUMBER = 64  # digits

_WORDS = re.compile(r"[*!]{0,2}[A-Za-z]{1,12}(?:[ _.:/-][A-Za-z]{1,12})*")
_LONGEST_WORDS = 40  # characters of them together
_UNSPEAKABLE = re.compile("[\x00\ud800-\udfff]")  # no UTF-8, or no database text


class DocumentError(SpecError):
    """A file cannot be read as a document."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


def fail(place: Place, message: str, key: str = "", suggestion: str = "") -> DocumentError:
    """Return the error to raise for a sentence at a place."""
    return DocumentError(Problem(place, key, message, suggestion))


def quoted(word: str, otherwise: str = "") -> str:
    """Return a word of a file that cannot be read, between backquotes; or `otherwise`, where it may be no word.

    What is named as a spec may lead anywhere, to a password as well, and a sentence is read by others.
    """
    return f"`{word}`" if len(word) <= _LONGEST_WORDS and _WORDS.fullmatch(word) else otherwise


@dataclass(slots=True)
class Limits:
    """What one document may cost; a reader counts its values here, aliases as often as they are used."""

    nodes: int = 10_000
    depth: int = 50

    def spend(self, place: Place, nodes: int = 1) -> None:
        """Count values. Raises `DocumentError` when there are too many."""
        self.nodes -= nodes
        if self.nodes < 0:
            raise fail(place, "the document has too many values: at most 10,000 are allowed")

    def descend(self, place: Place, depth: int) -> None:
        """Check how deep a list or mapping lies. Raises `DocumentError`."""
        if depth > self.depth:
            raise fail(
                place,
                f"lists and mappings are nested too deeply: at most {self.depth} levels are allowed",
            )


def checked_text(text: str, place: Place) -> str:
    """Return a text that every part of the program can hold. Raises `DocumentError`."""
    if len(text) > LONGEST_TEXT:
        sentence = f"a text of {len(text):,} characters: at most {LONGEST_TEXT:,} are allowed (media are named by file or URL, not written out)"
        raise fail(place, sentence)
    if bad := _UNSPEAKABLE.search(text):
        what = "a NUL character" if bad.group() == "\0" else "half of a surrogate pair"
        raise fail(place, f"the text holds {what}, which no value may")
    return text


def checked_integer(digits: str, place: Place, base: int = 10) -> int:
    """Return an integer of any sensible size, exactly. Raises `DocumentError` for more than 64 digits."""
    if len(digits) > LONGEST_NUMBER:
        raise fail(
            place, f"a number of {len(digits):,} digits: at most {LONGEST_NUMBER} are allowed"
        )
    return int(digits, base)
