"""`.reconcilerignore`: which files under the specs folder are no specs, in git's syntax, and what it says of copies.

The library translates a pattern; which of several counts, and that nothing below an ignored folder is seen, is
decided here as git does. Where the file cannot be understood it ignores nothing, and nothing is bought.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Container
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Self

from reconciler.core.documents import Place, Problem
from reconciler.core.file_names import SPEC_SUFFIXES, copied_from
from reconciler.workspace.files import NotPlain, describe_os_error, open_plain
from reconciler.workspace.inputs import Root
from reconciler.workspace.outputs import Signature

IGNORE_FILE = ".reconcilerignore"

_LARGEST = 64 * 1024  # bytes
_MOST_PATTERNS = 500  # each is tried with every name, by a watcher that has other things to do
_MOST_STARS = 4  # `*` or `**` in one pattern
_MOST_FOLDER_STARS = (
    2  # `**`: each multiplies how long an expression may try, by the depth of a name
)
_STARS = re.compile(r"\*+")
# A `*` that is followed by another one in the same name takes as little as it can: trying more of it finds nothing else.
_HASTY_STAR = re.compile(r"\[\^/\]\*((?:\\.|\[(?:\\.|[^\]])*\]|[^*+?/(\[\\])+?)(?=\[\^/\]\*)")
_EVERYTHING_INSIDE = re.compile(r"/\*\*(/?)\Z")
_SPECIAL = re.compile(r"([\\*?\[\]])")


class _Pattern(NamedTuple):
    expression: re.Pattern[str]
    ignores: bool  # False: it was negated by `!`

    def is_about(self, path: str) -> bool:
        """Whether it speaks of just this path (a folder's ends in `/`), and not only of a folder above it."""
        text = self.expression.pattern
        if text.startswith("^"):
            return self.expression.fullmatch(path) is not None
        return "/" not in text or path.endswith("/")  # the library's short forms of `*` and `*/`


class _NoPatternError(ValueError):
    """A line that git would take for nothing, or read in another way than it looks."""


@dataclass(frozen=True, slots=True)
class Ignoring:
    """The ignore file as it was read; without one, nothing is ignored."""

    signature: Signature | None = None
    problem: Problem | None = None  # why it cannot be understood; then it ignores nothing
    _patterns: tuple[_Pattern, ...] = ()
    _folders: dict[str, bool] = field(default_factory=dict, compare=False)

    @classmethod
    def read(cls, root: Path) -> Self:
        """Read the ignore file of a root; what is wrong with it is a problem of it, and never raised."""
        signature = signature_of(root)
        if signature is None:
            return cls()
        try:
            return cls(signature, None, tuple(_patterns(_text(root))))
        except _IllegibleError as error:
            return cls(signature, error.problem)

    def ignores(self, name: str) -> bool:
        """Whether a file (relative to the root) is none of ours, by itself or by a folder that it lies in."""
        return bool(self._patterns) and (
            self.ignores_folder(name.rpartition("/")[0]) or self._is_ignored(name)
        )

    def ignores_folder(self, name: str) -> bool:
        """Whether a folder, or one above it, is ignored. The root never is."""
        if not name or not self._patterns:
            return False
        if name not in self._folders:
            above = name.rpartition("/")[0]
            self._folders[name] = self.ignores_folder(above) or self._is_ignored(f"{name}/")
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

    def _is_ignored(self, path: str) -> bool:
        """Whether the last pattern about a path ignores it."""
        about = (one.ignores for one in reversed(self._patterns) if one.is_about(path))
        return next(about, False)

    def _asks_for(self, spec: str, original: str) -> bool:
        """Whether a negated pattern means a copy: one that fits its original as well says nothing about copies."""
        return any(
            one.is_about(spec) and not one.is_about(original)
            for one in self._patterns
            if not one.ignores
        )


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
    if not Root(root).holds(IGNORE_FILE):
        raise _IllegibleError(1, "the file is a link that leads out of the project")
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


def _patterns(text: str) -> list[_Pattern]:
    patterns = []
    for number, line in enumerate(text.split("\n"), start=1):
        pattern = line.rstrip("\r")
        if not pattern.strip() or pattern.startswith("#"):
            continue
        try:
            patterns.append(_pattern(pattern))
        except ValueError as error:
            sentence = f"`{pattern.strip()[:60]}` is not a pattern in git's syntax: {error}"
            raise _IllegibleError(number, sentence) from error
        if len(patterns) > _MOST_PATTERNS:
            raise _IllegibleError(number, f"more than {_MOST_PATTERNS} patterns: shorten the file")
    return patterns


def _pattern(line: str) -> _Pattern:
    """Return the pattern of a line. Raises ValueError with the end of a sentence."""
    from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern  # takes a while to import

    if not line.strip("!/ \t"):
        raise _NoPatternError("it names nothing")
    if any(ord(character) < 32 and character != "\t" for character in line):
        raise _NoPatternError("it holds a control character")
    if "[:" in line:
        raise _NoPatternError("classes such as `[:alpha:]` are not supported")
    if len(_STARS.findall(line)) > _MOST_STARS:
        raise _NoPatternError(f"more than {_MOST_STARS} `*` are not supported")
    if line.count("**") > _MOST_FOLDER_STARS:
        raise _NoPatternError(f"more than {_MOST_FOLDER_STARS} `**` are not supported")
    # To git, what is inside a folder is not the folder; the library's expression would fit both.
    written = _EVERYTHING_INSIDE.sub(r"/**/*\1", line.rstrip())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # about brackets within brackets
            made = GitIgnoreSpecPattern(written if written != line.rstrip() else line)
    except (ValueError, re.error, OverflowError, RecursionError) as error:
        what = "it ends in a `\\`" if line.rstrip().endswith("\\") else "its brackets say nothing"
        raise _NoPatternError(what) from error
    if made.regex is None or made.include is None:
        raise _NoPatternError("a `[` is not closed")
    hasty = re.compile(_HASTY_STAR.sub(r"(?>[^/]*?\1)", made.regex.pattern))
    return _Pattern(hasty, made.include)
