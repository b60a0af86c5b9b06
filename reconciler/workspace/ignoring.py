"""`.reconcilerignore`: which files under the specs folder are no specs, in git's syntax, and what it says of copies.

Which of several patterns counts, and that nothing below an ignored folder is seen, is decided here as git does. Where the file cannot be understood it ignores nothing, and nothing is bought.
"""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from reconciler.core.documents import Place, Problem
from reconciler.core.naming import SPEC_SUFFIXES, copied_from
from reconciler.workspace.files import NotPlain, describe_os_error, open_plain
from reconciler.workspace.globs import MOST_BRACKETS, Glob, GlobError, Globs
from reconciler.workspace.inputs import Root
from reconciler.workspace.outputs import Signature

IGNORE_FILE = ".reconcilerignore"

_LARGEST = 64 * 1024  # bytes
_SPECIAL = re.compile(r"([\\*?\[\]])")


@dataclass(frozen=True, slots=True)
class Ignoring:
    """The ignore file as it was read; without one, nothing is ignored."""

    signature: Signature | None = None
    problem: Problem | None = None  # why it cannot be understood; then it ignores nothing
    _globs: Globs | None = field(default=None, compare=False)  # None: nothing is ignored
    _folders: dict[str, bool] = field(default_factory=dict, compare=False)

    @classmethod
    def read(cls, root: Path) -> Self:
        """Read the ignore file of a root; what is wrong with it is a problem of it, and never raised."""
        signature = signature_of(root)
        if signature is None:
            return cls()
        try:
            return cls(signature, None, _patterns(_text(root)))
        except _IllegibleError as error:
            return cls(signature, error.problem)

    def ignores(self, name: str) -> bool:
        """Whether a file (relative to the root) is none of ours, by itself or by a folder that it lies in."""
        return self._globs is not None and (
            self.ignores_folder(name.rpartition("/")[0]) or self._is_ignored(self._globs, name)
        )

    def ignores_folder(self, name: str) -> bool:
        """Whether a folder, or one above it, is ignored. The root never is."""
        if not name or self._globs is None:
            return False
        if name not in self._folders:
            ignored, end = False, 0
            while end < len(
                name
            ):  # not by recursion: folders lie in one another deeper than that goes
                end = name.find("/", end + 1) if "/" in name[end + 1 :] else len(name)
                here = name[:end]
                if here not in self._folders:
                    self._folders[here] = ignored or self._is_ignored(
                        self._globs, here, is_folder=True
                    )
                ignored = self._folders[here]
        return self._folders[name]

    def held_back(self, spec: str, specs: Container[str]) -> str:
        """Return why nothing is bought for a spec, as far as this file and the spec's name tell; or nothing.

        `specs` are all that there are: a doubtful name is that of a copy only beside its original.
        """
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
        if self._asks_for(spec, f"{folder}{original}{suffix}"):
            return ""
        line = "!" + _SPECIAL.sub(r"\\\1", name + suffix)
        return (
            f"by its name this is a copy of `{original}` that a synchronising program or a file manager "
            f"made: delete it, or rename it, or, if you want it as it is, add the line `{line}` to `{IGNORE_FILE}`"
        )

    def _is_ignored(self, globs: Globs, path: str, *, is_folder: bool = False) -> bool:
        """Whether the last pattern about a path ignores it."""
        about = globs.fitting(path, is_folder=is_folder)
        return about > 0 and not globs.negated >> about.bit_length() - 1 & 1

    def _asks_for(self, spec: str, original: str) -> bool:
        """Whether a negated pattern means a copy: one that fits its original as well says nothing about copies."""
        if self._globs is None:
            return False
        about_original = self._globs.fitting(original, is_folder=False)
        about = self._globs.fitting(spec, is_folder=False) & ~about_original
        return bool(about & self._globs.negated)


class _IllegibleError(Exception):
    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.problem = Problem(Place(IGNORE_FILE, line), "", message)


def signature_of(root: Path) -> Signature | None:
    """Return how the ignore file of a root stands now; None where there is none."""
    path = root / IGNORE_FILE
    try:
        return Signature.of(
            path.lstat() if path.is_symlink() and not path.exists() else path.stat()
        )
    except FileNotFoundError:
        return None
    except OSError:
        return Signature(-1, 0, 0, 0)  # it cannot be looked at: not as it was, whatever it was


def foreign_copy(name: str) -> str:
    """Return why a file is no spec, as a sentence: by its name, a copy of a defaults file or a receipt; or nothing."""
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
        raise _IllegibleError(1, f"the file {fault}")
    try:
        with open_plain(root / IGNORE_FILE) as file:
            data = file.read(_LARGEST + 1)
    except NotPlain as error:
        raise _IllegibleError(1, "this is not a plain file: move it out of the way") from error
    except OSError as error:
        described = describe_os_error(error, IGNORE_FILE)
        raise _IllegibleError(1, " ".join((f"{described.message}.", described.hint))) from error
    if len(data) > _LARGEST:
        raise _IllegibleError(1, f"the file is larger than {_LARGEST // 1024} KiB: shorten it")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _IllegibleError(line, "this is not UTF-8: save the file as UTF-8") from error


def _patterns(text: str) -> Globs | None:
    globs, brackets = list[Glob](), 0
    for number, line in enumerate(text.split("\n"), start=1):
        pattern = line.rstrip("\r")
        if not pattern.strip() or pattern.startswith("#"):
            continue
        try:
            globs.append(_pattern(pattern))
        except GlobError as error:
            sentence = f"this line is not a pattern in git's syntax: {error}"
            raise _IllegibleError(number, sentence) from error
        brackets += globs[-1].brackets
        if brackets > MOST_BRACKETS:
            raise _IllegibleError(number, f"more than {MOST_BRACKETS} brackets: shorten the file")
    return Globs(globs) if globs else None


def _pattern(line: str) -> Glob:
    """Return the pattern of a line. Raises `GlobError`."""
    if not line.strip("!/ \t"):
        raise GlobError("it names nothing")
    if any(ord(character) < 32 and character != "\t" for character in line):
        raise GlobError("it holds a control character")
    if "[:" in line:
        raise GlobError("classes such as `[:alpha:]` are not supported")
    return Glob.parse(line)
