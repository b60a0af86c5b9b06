"""Reading the places where settings stand: what was written, and where.

The environment, `.env` and a settings file elsewhere are the operator's, if git does not track them; `reconciler.toml`
is the folder's. A misspelt cap is no cap: so an unreadable line, or a name that is almost a setting's, is an error that
says where it stands, never ignored.
"""

from __future__ import annotations

import difflib
import io
import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dotenv.parser import parse_stream
from dotenv.variables import Variable, parse_variables

from reconciler.core.documents import DocumentError, Limits, plain
from reconciler.core.errors import SettingsError, WorkspaceError
from reconciler.workspace.files.plain import open_plain
from reconciler.workspace.git import is_tracked

ENVIRONMENT, ENV_FILE, CONFIG_FILE = "the environment", ".env", "reconciler.toml"
LARGEST_FILE = 1024 * 1024  # bytes of a settings file

_NAME = r"(?a)[A-Za-z_][\w.-]*"
# the beginning of a setting inside the value of another
_ANOTHER = r"(?i)\b(RECONCILER|KLING|KLINGAI)_[A-Z_]+\s*[=:]"
# a line that assigns; not the last line of a key in base64, which ends with `=`
_ASSIGNMENT = r"(?a)\s*(export\s+|set\s+)?[A-Za-z_][\w.-]*\s*=\s*[^\s=]"
# characters that end a line in an editor and not here, or are not shown
_UNSEEN = "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x85\u2028\u2029]"
# variables that Kubernetes adds to each pod's environment for a service called `reconciler`
_SERVICE = r"RECONCILER_(SERVICE_(HOST|PORT\w*)|PORT(_\d+_(TCP|UDP)(_(PROTO|PORT|ADDR))?)?)"
_LIKE = 0.9  # how much a name is like `reconciler.toml`: `reconciler.tml` and `reconcilier.toml`, not `reconciler.yaml`
# a name like `.env`; not `.envrc`, which direnv reads
_LIKE_ENV = r"(?i)[._]?env(?!rc$)(?!.*(example|sample|template))([ .(_-].*)?"
_OF_A_CAP = frozenset({"MAX", "DAY", "DAILY", "RUN", "CAP", "LIMIT"})

# settings that hold purchases back, recognized without the prefix, too
_PROTECTIVE = (
    *("RECONCILER_MAX_UNITS_PER_DAY", "RECONCILER_MAX_UNITS_PER_RUN"),
    *("RECONCILER_REQUIRE_COMMITTED", "RECONCILER_ABSENCE_GRACE", "RECONCILER_SETTLE_SECONDS"),
)


@dataclass(frozen=True, slots=True)
class Given:
    """One setting as it was written."""

    name: str  # as the definition spells it
    value: Any  # text; of a settings file what TOML makes of it
    source: str  # ENVIRONMENT, ENV_FILE, CONFIG_FILE, or the path of the operator's settings file
    at: str = ""  # the line of `.env`; line and column of a settings file

    @property
    def place(self) -> str:
        """Return where it stands, for people."""
        if self.source == ENVIRONMENT:
            return self.source
        return f"`{self.source}:{self.at}`" if self.at else f"`{self.source}`"


def key_of(name: str) -> str:
    """Return the key in a settings file for the environment's name of a setting."""
    return name.removeprefix("RECONCILER_").lower()


def read(
    root: Path, config: Path | None, ours: Collection[str], others: Collection[str] = ()
) -> tuple[dict[str, Given], dict[str, Given]]:
    """Return what the operator and what the folder sets, by name.

    The environment wins over `.env`, and `.env` over `config`, the operator's settings file. `ours` are the names of
    settings; `others` are further variables of `.env`, whose spelling is not checked. Raises SettingsError: a file or
    line cannot be read, a name is almost that of a setting, or git tracks (or may track) a file of the operator.
    """
    _refuse_misnamed(root)
    known = {name.upper(): name for name in (*ours, *others)}
    given: dict[str, Given] = {}
    for one in (
        *(() if config is None else _configured(config, str(config), ours)),
        *_dotenv(root / ENV_FILE, ours, known),
        *_environment(ours, known),
    ):
        if one.value != "" or one.name not in given:  # what is empty takes nothing away
            given[one.name] = one
    for path in (root / ENV_FILE, config):  # after reading: what is read now was looked at then
        if path is not None and os.path.lexists(path):
            _refuse_tracked(root, path)
    by_folder = {one.name: one for one in _configured(root / CONFIG_FILE, CONFIG_FILE, ours)}
    given = {name: one for name, one in given.items() if one.value != "" or name not in by_folder}
    return given, by_folder


def users_file() -> Path | None:
    """Return the settings file in the user's configuration folder, None where there is none."""
    base = os.environ.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(base):  # noqa: PTH117 - a relative one counts as not set (XDG Base Directory)
        base = os.path.expanduser("~/.config")  # noqa: PTH111 - Path.home() fails where there is none
    path = Path(base, "reconciler", "config.toml")
    return path if path.is_absolute() and os.path.lexists(path) else None


def holds_another(value: str) -> bool:
    """Whether the value of a setting swallowed another setting."""
    below = value.splitlines()[1:]
    return bool(re.search(_ANOTHER, value)) or any(re.match(_ASSIGNMENT, line) for line in below)


def existing(root: Path, config: Path | None) -> frozenset[str]:
    """Return which settings files there are."""
    names = (ENV_FILE, CONFIG_FILE, *(() if config is None else (str(config),)))
    return frozenset(name for name in names if os.path.lexists(root / name))


def _refuse_tracked(root: Path, path: Path) -> None:
    """Raise SettingsError for an operator's file that git tracks, or may track."""
    shown = ENV_FILE if path == root / ENV_FILE else str(path)
    try:
        if not is_tracked(root, path):
            return
    except WorkspaceError as error:
        raise SettingsError(
            f"`{shown}` is not used, because it may be part of somebody's commit: {error.message}",
            hint="Mend that, or move the settings to the environment or to a file outside of the repository (`--config FILE`).",
        ) from error
    raise SettingsError(
        f"`{shown}` is tracked by git, so everybody who commits to the folder could change it",
        hint=f"Take it out of git with `git rm --cached {path.name}`, commit that, and replace the keys that it held: they "
        "stay in the history.",
    )


def _refuse_misnamed(root: Path) -> None:
    """Raise SettingsError for a file whose name is almost `reconciler.toml` or `.env`."""
    names = {path.name for path in root.iterdir()} if root.is_dir() else set()
    for name in sorted(names - {ENV_FILE, CONFIG_FILE}):
        plain = name.casefold().removesuffix(".txt").strip()
        is_toml = plain.lstrip("._ ").startswith(CONFIG_FILE) and plain.endswith(".toml")
        likeness = difflib.SequenceMatcher(None, plain, CONFIG_FILE).ratio()
        if is_toml or (plain.startswith("reconc") and likeness >= _LIKE):
            meant = CONFIG_FILE
        elif plain == ENV_FILE or (re.fullmatch(_LIKE_ENV, name) and _holds_ours(root / name)):
            meant = ENV_FILE
        else:
            continue
        if meant not in names:  # that it exists says nothing where `.ENV` and `.env` are one file
            hint = f"Rename it to `{meant}`, or give it a name that is less like it."
            raise SettingsError(f"`{name}` is not read: settings belong in `{meant}`", hint=hint)


def _holds_ours(path: Path) -> bool:
    try:
        with open_plain(path) as file:
            return b"RECONCILER_" in file.read(LARGEST_FILE)
    except OSError:
        return False


def _environment(ours: Collection[str], known: Mapping[str, str]) -> Iterator[Given]:
    found: dict[str, str] = {}
    for name, value in os.environ.items():
        if plain := known.get(name.upper()):
            if found.setdefault(plain, value) != value:
                raise SettingsError(
                    f"{ENVIRONMENT} holds {plain} twice, in different spellings and with different values",
                    hint="Leave one of them out.",
                )
            yield Given(plain, value, ENVIRONMENT)
        elif (meant := _meant(name, ours, among_others=True)) is not None:
            raise _no_setting(f"{ENVIRONMENT} holds", name, meant, ours)


def _dotenv(path: Path, ours: Collection[str], known: Mapping[str, str]) -> Collection[Given]:
    found: dict[str, Given] = {}
    variables: dict[str, str] = dict(os.environ)
    text = _text(path, ENV_FILE, "It must be a text file in UTF-8.")
    for key, written, line in _assignments(text):
        name = known.get(key.upper())
        if name is None and (meant := _meant(key, ours)) is not None:
            raise _no_setting(f"`{ENV_FILE}:{line}` holds", key, meant, ours)
        parts = list(parse_variables(written))
        for part in parts if name in ours else ():
            if isinstance(part, Variable) and part.default is None and part.name not in variables:
                raise _unreadable(line, f"`${{{part.name}}}` is not set anywhere")
        value = variables[key] = "".join(part.resolve(variables) for part in parts)
        if name is None:
            continue
        if name in found and found[name].value != value:
            raise _unreadable(line, f"{name} has another value in line {found[name].at}")
        found.setdefault(name, Given(name, value, ENV_FILE, str(line)))
    return found.values()


def _assignments(text: str) -> Iterator[tuple[str, str, int]]:
    """Yield name, value with unresolved variables, and line (from 1) of each; raises SettingsError for another line."""
    for number, written in enumerate(re.split(r"\r\n|\n|\r", text), 1):
        if unseen := re.search(_UNSEEN, written):
            raise _unreadable(number, f"an invisible character (U+{ord(unseen[0]):04X}) is in it")
    for binding in parse_stream(io.StringIO(text)):
        original = binding.original.string
        blank = original[: len(original) - len(original.lstrip())]
        line = binding.original.line + len(re.findall(r"\r\n|\n|\r", blank))
        if binding.error or (binding.key is not None and binding.value is None):
            raise _unreadable(line, "it is neither an assignment (`NAME=value`) nor a comment")
        if binding.key is None or binding.value is None:
            continue
        if not re.fullmatch(_NAME, binding.key):
            raise _unreadable(line, "what stands before the `=` is not a name")
        if any(re.match(_ASSIGNMENT, below) for below in binding.value.splitlines()[1:]):
            why = "its quote is closed only lines below, and swallows the settings in between"
            raise _unreadable(line, why)
        if holds_another(binding.value):
            why = "its value holds another setting, which belongs on a line of its own"
            raise _unreadable(line, why)
        yield binding.key, binding.value, line


def _configured(path: Path, shown: str, ours: Collection[str]) -> Collection[Given]:
    """Return the settings of a TOML file; `shown` is its name for people."""
    text = _text(path, shown, "It must be a TOML file.")
    if not text:
        return ()
    # It brings a library, and most have no such file.
    from reconciler.workspace.read.toml_reader import read_toml

    try:
        node = read_toml(text, shown, Limits())
    except DocumentError as error:
        told = f"`{error.problem.place}` cannot be read: {error.problem.message}"
        raise SettingsError(told, hint="It must be a TOML file.") from None
    assert isinstance(node.value, Mapping)
    allowed = {key_of(name): name for name in ours}
    found = []
    for key, entry in node.value.items():
        at = f"{entry.key.line}:{entry.key.column}"
        if key not in allowed:
            meant = difflib.get_close_matches(key.lower().removeprefix("reconciler_"), allowed, n=1)
            raise _no_setting(f"`{shown}:{at}` holds", key, meant[0] if meant else "", allowed)
        found.append(Given(allowed[key], plain(entry.node), shown, at))
    return found


def _text(path: Path, shown: str, hint: str) -> str:
    """Return the text of a settings file of at most 1 MiB, "" where there is none; never blocks."""
    try:
        with open_plain(path) as file:
            data = file.read(LARGEST_FILE + 1)
        text = data[:LARGEST_FILE].decode("utf-8-sig")
    except FileNotFoundError:
        if path.is_symlink():
            hint = "Correct the link, or remove it."
            told = f"`{shown}` is a link to a file that does not exist"
            raise SettingsError(told, hint=hint) from None
        return ""
    except (ValueError, OSError) as error:
        raise SettingsError(f"`{shown}` cannot be read: {error}", hint=hint) from None
    if len(data) > LARGEST_FILE:
        raise SettingsError(f"`{shown}` is larger than 1 MiB", hint=hint)
    return text


def _meant(name: str, ours: Collection[str], *, among_others: bool = False) -> str | None:
    """Return the setting that a name probably means; "" for a wrong name like none, None for another program's name."""
    plain = re.sub(r"[.-]", "_", name.upper())
    if among_others and (not plain.startswith("RECON") or re.fullmatch(_SERVICE, plain)):
        return None  # most of an environment, and the comparison is slow
    if plain.startswith("RECONCILER_"):
        stem = plain.removeprefix("RECONCILER_")
        within = (
            one for one in ours if stem and f"_{stem}_" in f"{one}_".removeprefix("RECONCILER")
        )
        return next(within, "") or _likely(plain, ours, 0.75)
    if among_others:
        return _likely(plain, [one for one in ours if one.startswith("RECONCILER_")], 0.9) or None
    if plain.startswith("KLING"):
        return _likely(plain, ours, 0.75)
    words = set(plain.split("_"))
    if "UNITS" in words and words & _OF_A_CAP:
        return _PROTECTIVE[0]
    likely = _likely(plain, ours, 0.85) or _likely(f"RECONCILER_{plain}", _PROTECTIVE, 0.93)
    return likely or None


def _likely(name: str, candidates: Collection[str], cutoff: float) -> str:
    return next(iter(difflib.get_close_matches(name, candidates, 1, cutoff)), "")


def _no_setting(where: str, name: str, meant: str, ours: Collection[str]) -> SettingsError:
    hint = f"Did you mean `{meant}`?" if meant else f"The settings are: {', '.join(sorted(ours))}."
    return SettingsError(f"{where} `{name}`, which is not a setting", hint=hint)


def _unreadable(line: int, why: str) -> SettingsError:
    hint = "Correct the line, or begin it with `#`. Until then nothing is bought: it may be a cap."
    return SettingsError(f"`{ENV_FILE}:{line}` cannot be read: {why}", hint=hint)
