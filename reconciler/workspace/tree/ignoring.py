"""`.reconcilerignore`: which files under the specs folder are no specs, in git's syntax, and what it says of copies.

The last pattern that fits counts, and nothing below an ignored folder is seen, as in git. Where the file cannot be
understood it ignores nothing, and nothing is bought.

Regular expressions could take a power of a name's length, uninterrupted. Here each letter of each pattern is a bit of one
number, and each letter of a path moves all bits at once (the *Shift-And* algorithm): always a few operations per letter.
"""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple, Self

from reconciler.core.documents import Place, Problem
from reconciler.core.naming import SPEC_SUFFIXES, copied_from, join
from reconciler.workspace.files.outputs import Signature, followed
from reconciler.workspace.files.plain import NotPlain, describe_os_error, open_plain
from reconciler.workspace.files.root import Root

IGNORE_FILE = ".reconcilerignore"

_LARGEST = 64 * 1024  # bytes
_MOST_BRACKETS = 100  # of all patterns together: each is asked about each letter
_KEPT_LETTERS = 512  # whose bits are cached
_SPECIAL = re.compile(r"([\\*?\[\]])")
_ANY_FOLDERS = "**"
# An element of a pattern's name: `*`, `?`, a bracket (its `!`, its members), an escaped letter, a letter.
_ELEMENT = re.compile(
    r"(?P<sign>[*?])|\[(?P<not>[!^]?+)(?P<members>(?:\\.|[^\\])(?:\\.|[^\]\\])*)\]|\\(?P<escaped>.)|(?P<letter>[^\[\\])",
    re.DOTALL,
)
_MEMBER = re.compile(r"\\?(.)(?:-\\?(.))?", re.DOTALL)  # of a bracket: a letter, or a range


class _Illegible(Exception):
    """The ignore file, or a line of it, cannot be understood; the message is a sentence."""

    def __init__(self, message: str, line: int = 1) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True, slots=True)
class Ignoring:
    """The ignore file as it was read; without one, nothing is ignored."""

    signature: Signature | None = None
    problem: Problem | None = None  # why it cannot be understood; then it ignores nothing
    is_racy: bool = field(default=False, compare=False)  # see `Signature.is_racy`
    _globs: _Globs | None = field(default=None, compare=False)  # None: nothing is ignored
    _folders: dict[str, bool] = field(default_factory=dict, compare=False)

    @classmethod
    def read(cls, root: Path) -> Self:
        """Read the ignore file of a root; what is wrong with it becomes its `problem`."""
        signature, at_ns = signature_of(root), time.time_ns()
        if signature is None:
            return cls()
        problem, globs = None, None
        try:
            globs = _patterns(_text(root))
        except _Illegible as error:
            problem = Problem(Place(IGNORE_FILE, error.line), "", str(error))
        return cls(signature, problem, signature.is_racy(at_ns), globs)

    def ignores(self, name: str) -> bool:
        """Whether a file (relative to the root), or a folder that it lies in, is ignored."""
        return self._globs is not None and (
            self.ignores_folder(name.rpartition("/")[0])
            or self._globs.is_ignored(name, is_folder=False)
        )

    def ignores_folder(self, name: str) -> bool:
        """Whether a folder, or one above it, is ignored. The root never is."""
        if not name or self._globs is None:
            return False
        if name not in self._folders:
            is_ignored = False
            for here in accumulate(name.split("/"), join):
                if here not in self._folders:
                    self._folders[here] = is_ignored or self._globs.is_ignored(here, is_folder=True)
                is_ignored = self._folders[here]
        return self._folders[name]

    def held_back(self, spec: str, specs: Container[str]) -> str:
        """Return why nothing is bought for a spec, by this file and its name among all `specs`; or nothing."""
        if self.problem is not None:
            return f"nothing is bought while `{IGNORE_FILE}` cannot be understood: {self.problem}"
        folder, name, suffix = _parts(spec)
        copy = copied_from(name)
        if copy is None:
            return ""
        beside = [
            original
            for original in copy.originals
            if any(f"{folder}{original}{end}" in specs for end in SPEC_SUFFIXES)
        ]
        if not (copy.is_certain or beside):
            return ""
        original = (beside or list(copy.originals[-1:]))[0]
        if self._globs and self._globs.mean(spec, f"{folder}{original}{suffix}"):
            return ""
        line = "!" + _SPECIAL.sub(r"\\\1", name + suffix)
        return (
            f"by its name this is a copy of `{original}` that a synchronising program or a file manager "
            f"made: delete it, or rename it, or, if you want it as it is, add the line `{line}` to `{IGNORE_FILE}`"
        )


def signature_of(root: Path) -> Signature | None:
    """Return how the ignore file of a root stands now; None where there is none."""
    try:
        return followed(root / IGNORE_FILE)
    except OSError:
        return Signature(-1, 0, 0, 0)  # it cannot be looked at: counts as changed


def foreign_copy(name: str) -> str:
    """Return why a file named like a copy of a defaults file or a receipt is no spec; or nothing."""
    _, stem, suffix = _parts(name)
    copy = copied_from(stem)
    if copy is None:
        return ""
    last = copy.originals[-1].lower()
    if last == "_defaults":
        return (
            "by its name this is a copy of `_defaults.yaml`, and it is not read: "
            "put what you want of it into `_defaults.yaml`, and delete it"
        )
    if last.endswith(".receipt") and suffix.lower() == ".json":
        return (
            f"by its name this is a copy of the receipt `{copy.originals[-1]}.json`, and it is not read: "
            "keep the receipt that lists more, and delete the other"
        )
    return ""


def _parts(name: str) -> tuple[str, str, str]:
    """Return the folder with its slash, the stem, and the suffix with its dot."""
    folder, slash, last = name.rpartition("/")
    stem, dot, ending = last.rpartition(".")
    return folder + slash, stem, dot + ending


def _text(root: Path) -> str:
    if fault := Root(root).fault(IGNORE_FILE):
        raise _Illegible(f"the file {fault}")
    try:
        with open_plain(root / IGNORE_FILE) as file:
            data = file.read(_LARGEST + 1)
    except NotPlain as error:
        raise _Illegible("this is not a plain file: move it out of the way") from error
    except OSError as error:
        described = describe_os_error(error, IGNORE_FILE)
        raise _Illegible(f"{described.message}. {described.hint}") from error
    if len(data) > _LARGEST:
        raise _Illegible(f"the file is larger than {_LARGEST // 1024} KiB: shorten it")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _Illegible("this is not UTF-8: save the file as UTF-8", line) from error


def _patterns(text: str) -> _Globs | None:
    globs, brackets = list[_Glob](), 0
    for number, line in enumerate(text.split("\n"), start=1):
        pattern = line.rstrip("\r")
        if not pattern.strip() or pattern.startswith("#"):
            continue
        try:
            globs.append(_glob(pattern))
        except _Illegible as error:
            sentence = f"this line is not a pattern in git's syntax: {error}"
            raise _Illegible(sentence, number) from error
        brackets += sum(isinstance(element, _Bracket) for element in globs[-1].elements)
        if brackets > _MOST_BRACKETS:
            raise _Illegible(f"more than {_MOST_BRACKETS} brackets: shorten the file", number)
    return _Globs(globs) if globs else None


class _Bracket(NamedTuple):
    """`[a-z]` or `[!a-z]`: a letter that is, or is not, in one of these ranges."""

    ranges: tuple[tuple[str, str], ...]
    is_negated: bool

    def holds(self, letter: str) -> bool:
        return any(low <= letter <= high for low, high in self.ranges) != self.is_negated


_STAR, _ANY, _FOLDERS = object(), object(), object()  # `*`, `?`, and `**`: any number of folders


class _Glob(NamedTuple):
    elements: tuple[object, ...]  # from the root down: signs, brackets, letters, slashes
    is_for_folders: bool  # only
    is_negated: bool  # by a `!` before it


def _glob(line: str) -> _Glob:
    """Return what a line of an ignore file means. Raises `_Illegible`."""
    if not line.strip("!/ \t"):
        raise _Illegible("it names nothing")
    if any(ord(character) < 32 and character != "\t" for character in line):
        raise _Illegible("it holds a control character")
    if "[:" in line:
        raise _Illegible("classes such as `[:alpha:]` are not supported")
    is_negated = line.startswith("!")
    line = line.removeprefix("!")
    written = line.rstrip(" ")
    if written != line and (len(written) - len(written.rstrip("\\"))) % 2:
        written += " "  # the one that is escaped
    parts = written.removesuffix("/").split("/")
    if len(parts) == 1:
        parts.insert(0, _ANY_FOLDERS)  # a name alone: wherever it lies
    elif not parts[0]:
        del parts[0]
    parts = [_ANY_FOLDERS if len(part) > 1 and not part.strip("*") else part for part in parts]
    if parts[-1] == _ANY_FOLDERS:
        parts.append("*")  # what lies in a folder, and not the folder itself
    elements: list[object] = []
    for part, before in zip(parts, ["", *parts], strict=False):
        if part != _ANY_FOLDERS:
            elements += [*(["/"] if elements and before != _ANY_FOLDERS else []), *_elements(part)]
        elif before != _ANY_FOLDERS:  # `**/**` is `**`
            elements += [*(["/"] if elements else []), _FOLDERS]
    return _Glob(tuple(elements), written.endswith("/"), is_negated)


def _elements(part: str) -> Iterator[object]:
    """Yield the elements of a name in a pattern. Raises `_Illegible`."""
    at = 0
    while at < len(part):
        found = _ELEMENT.match(part, at)
        if found is None:
            raise _Illegible("it ends in a `\\`" if part[at] == "\\" else "a `[` is not closed")
        at = found.end()
        if sign := found["sign"]:
            yield _STAR if sign == "*" else _ANY
        elif members := found["members"]:
            pairs = _MEMBER.findall(members)
            ranges = tuple((low, high or low) for low, high in pairs)
            if any(low > high for low, high in ranges):
                raise _Illegible("its brackets say nothing")
            yield _Bracket(ranges, bool(found["not"]))
        else:
            yield found["escaped"] or found["letter"]


class _Globs:
    """Patterns in their order, and which of them fit a path."""

    def __init__(self, globs: Sequence[_Glob]) -> None:
        self._places: defaultdict[object, list[int]] = defaultdict(list)  # bits that each leads to
        begins, loops, enters, returns = [], [], [], []
        ends, ends_of_files, ends_of_negated = [], [], []
        bit = 0
        for glob in globs:
            begins.append(bit)
            for element in glob.elements:
                if element is _STAR:
                    loops.append(bit)
                elif element is _FOLDERS:
                    # Three bits: before a name that may be skipped, within it, and after its slash. A slash before them
                    # leads to the first, which is as good as the last.
                    enters.append(bit)
                    self._places[_ANY].append(bit + 1)
                    loops.append(bit + 1)
                    self._places["/"].append(bit + 2)
                    returns.append(bit + 2)
                    bit += 2
                else:
                    bit += 1
                    self._places[element].append(bit)
            ends.append(bit)
            if not glob.is_for_folders:
                ends_of_files.append(bit)
            if glob.is_negated:
                ends_of_negated.append(bit)
            bit += 1
        self._brackets = [one for one in self._places if isinstance(one, _Bracket)]
        self._enters, self._returns = _number(enters), _number(returns)
        self._loops, self._slash = _number(loops), _number(self._places["/"])
        self._ends, self._ends_of_files = _number(ends), _number(ends_of_files)
        self._negated = _number(ends_of_negated)
        begun = _number(begins)
        self._begin = begun | (begun & self._enters) << 2
        self._last = ("", self._begin)  # the last folder with its slash, and the bits after it
        self._led_to = lru_cache(_KEPT_LETTERS)(self._bits_of)

    def is_ignored(self, path: str, *, is_folder: bool) -> bool:
        """Whether the last pattern about a path ignores it."""
        about = self._fitting(path, is_folder=is_folder)
        return about > 0 and not self._negated >> about.bit_length() - 1 & 1

    def mean(self, spec: str, original: str) -> bool:
        """Whether a negated pattern fits a copy, and not its original as well."""
        about = self._fitting(original, is_folder=False)
        return bool(self._fitting(spec, is_folder=False) & ~about & self._negated)

    def _fitting(self, path: str, *, is_folder: bool) -> int:
        """Return a bit for each pattern that fits this very path, not a folder above: a later one's is higher."""
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
                moved = state << 1 & self._led_to(letter)
                state = moved | state & self._loops | (state & self._returns) >> 1
        return state

    def _bits_of(self, letter: str) -> int:
        held = (one for one in self._brackets if one.holds(letter))
        return _number([bit for one in (letter, _ANY, *held) for bit in self._places.get(one, ())])


def _number(bits: Sequence[int]) -> int:
    """Return the number with these bits, in linear time."""
    octets = bytearray(max(bits, default=0) // 8 + 1)
    for bit in bits:
        octets[bit // 8] |= 1 << bit % 8
    return int.from_bytes(octets, "little")
