"""Which of many patterns in git's syntax fit a path: all at once, in one pass over its letters. No I/O.

A regular expression for each pattern takes, with some names, a power of the name's length, and nothing interrupts it. Here
each letter of each pattern is a bit of one number, and a letter of a path moves all of them at once (the *Shift-And*
algorithm): its cost is that of a few operations on the number, whatever the patterns and the names are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

MOST_BRACKETS = 100  # of all patterns together: each is asked about each letter
_KEPT_LETTERS = 512  # whose bits are remembered
_FOLDERS = "**"


class GlobError(ValueError):
    """No pattern in git's syntax, or one that is not supported: the end of a sentence."""


@dataclass(frozen=True, slots=True)
class _Bracket:
    """`[a-z]` or `[!a-z]`: a letter that is, or is not, in one of these ranges."""

    ranges: tuple[tuple[str, str], ...]
    is_negated: bool

    def holds(self, letter: str) -> bool:
        return any(low <= letter <= high for low, high in self.ranges) != self.is_negated


_STAR, _ANY = object(), object()


@dataclass(frozen=True, slots=True)
class Glob:
    """One pattern."""

    # From the root down: the elements of a name, or none for `**`, any number of folders.
    segments: tuple[tuple[object, ...] | None, ...]
    is_for_folders: bool  # and for nothing else
    is_negated: bool  # by a `!` before it

    @classmethod
    def parse(cls, line: str) -> Glob:
        """Return what a line of an ignore file means. Raises `GlobError`."""
        is_negated = line.startswith("!")
        line = line.removeprefix("!")
        written = line.rstrip(" ")
        if written != line and (len(written) - len(written.rstrip("\\"))) % 2:
            written += " "  # the one that is escaped
        parts = written.removesuffix("/").split("/")
        if len(parts) == 1:
            parts.insert(0, _FOLDERS)  # a name alone: wherever it lies
        elif not parts[0]:
            del parts[0]
        parts = [_FOLDERS if len(part) > 1 and not part.strip("*") else part for part in parts]
        if parts[-1] == _FOLDERS:
            parts.append("*")  # what lies in a folder, and not the folder itself
        once = (part for part, same in groupby(parts) for part in _once(part, same))
        segments = tuple(None if part == _FOLDERS else tuple(_elements(part)) for part in once)
        return cls(segments, written.endswith("/"), is_negated)

    @property
    def brackets(self) -> int:
        """How many brackets it holds."""
        return sum(isinstance(one, _Bracket) for part in self.segments for one in part or ())


class Globs:
    """Patterns in their order, and a path held against all of them."""

    def __init__(self, globs: Sequence[Glob]) -> None:
        self._letters: defaultdict[str, list[int]] = defaultdict(list)  # letter -> bits it leads to
        self._brackets: defaultdict[_Bracket, list[int]] = defaultdict(list)
        self._kept: dict[str, int] = {}
        begins, loops, anything, enters, returns = [], [], [], [], []
        ends, ends_of_files, ends_of_negated = [], [], []
        bit = 0
        for glob in globs:
            begins.append(bit)
            is_first, after_folders = True, False
            for segment in glob.segments:
                if not (is_first or after_folders):
                    bit += 1
                    self._letters["/"].append(bit)
                if segment is None:
                    # Three bits: before a name that may be passed over, within it, and after its slash. A slash before
                    # them leads to the first, which is as good as the last.
                    enters.append(bit)
                    anything.append(bit + 1)
                    loops.append(bit + 1)
                    self._letters["/"].append(bit + 2)
                    returns.append(bit + 2)
                    bit += 2
                for element in segment or ():
                    if element is _STAR:
                        loops.append(bit)
                        continue
                    bit += 1
                    if element is _ANY:
                        anything.append(bit)
                    elif isinstance(element, _Bracket):
                        self._brackets[element].append(bit)
                    else:
                        self._letters[str(element)].append(bit)
                is_first, after_folders = False, segment is None
            ends.append(bit)
            if not glob.is_for_folders:
                ends_of_files.append(bit)
            if glob.is_negated:
                ends_of_negated.append(bit)
            bit += 1
        self._enters, self._returns = _number(enters), _number(returns)
        self._loops, self._anything = _number(loops), _number(anything)
        self._slash = _number(self._letters["/"])
        self._ends, self._ends_of_files = _number(ends), _number(ends_of_files)
        begun = _number(begins)
        self._begin = begun | (begun & self._enters) << 2
        self._last = ("", self._begin)  # a folder with its slash, and the bits after it
        self.negated = _number(ends_of_negated)
        """The bits of the negated ones among what `fitting` returns."""

    def fitting(self, path: str, *, is_folder: bool) -> int:
        """Return a bit for each pattern that fits just this path, and not only a folder above it.

        A later pattern's is the higher one.
        """
        folder, slash, name = path.rpartition("/")
        folder += slash
        known, state = self._last
        if not folder.startswith(known):
            known, state = "", self._begin
        state = self._after(state, folder[len(known) :])
        self._last = (folder, state)
        return self._after(state, name) & (self._ends if is_folder else self._ends_of_files)

    def _after(self, state: int, letters: str) -> int:
        for letter in letters:
            if letter == "/":
                state = state << 1 & self._slash
                state |= (state & self._enters) << 2
            else:
                moved = state << 1 & (self._kept.get(letter) or self._led_to(letter))
                state = moved | state & self._loops | (state & self._returns) >> 1
        return state

    def _led_to(self, letter: str) -> int:
        if len(self._kept) >= _KEPT_LETTERS:
            self._kept.clear()
        held = (bits for bracket, bits in self._brackets.items() if bracket.holds(letter))
        bits = [*self._letters.get(letter, ()), *(bit for found in held for bit in found)]
        self._kept[letter] = self._anything | _number(bits)
        return self._kept[letter]


def _once(part: str, same: Iterable[str]) -> Iterable[str]:
    return (part,) if part == _FOLDERS else same


def _number(bits: Sequence[int]) -> int:
    """Return the number with these bits, in time that grows with the highest and with how many there are."""
    octets = bytearray(max(bits, default=0) // 8 + 1)
    for bit in bits:
        octets[bit // 8] |= 1 << bit % 8
    return int.from_bytes(octets, "little")


def _elements(part: str) -> Iterator[object]:
    """Yield what the name of a file or folder consists of. Raises `GlobError`."""
    at = 0
    while at < len(part):
        letter, at = part[at], at + 1
        if letter == "*":
            yield _STAR
        elif letter == "?":
            yield _ANY
        elif letter == "[":
            bracket, at = _bracket(part, at)
            yield bracket
        elif letter == "\\":
            if at == len(part):
                raise GlobError("it ends in a `\\`")
            yield part[at]
            at += 1
        else:
            yield letter


def _bracket(part: str, at: int) -> tuple[_Bracket, int]:
    """Read what follows a `[`; return it, and where it ends."""
    is_negated = part[at : at + 1] in ("!", "^")
    begin = at = at + is_negated
    ranges: list[tuple[str, str]] = []
    while part[at : at + 1] != "]" or at == begin:
        low, at = _member(part, at)
        high = low
        if part[at : at + 1] == "-" and part[at + 1 : at + 2] not in ("]", ""):
            high, at = _member(part, at + 1)
        if low > high:
            raise GlobError("its brackets say nothing")
        ranges.append((low, high))
    return _Bracket(tuple(ranges), is_negated), at + 1


def _member(part: str, at: int) -> tuple[str, int]:
    at += part[at : at + 1] == "\\"
    if at >= len(part):
        raise GlobError("a `[` is not closed")
    return part[at], at + 1
