"""File names: of results, receipts and labels; of copies that programs make, and misspelt names of specs."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from typing import NamedTuple

from reconciler.core.states import Role

LONGEST_LABEL = 100  # characters
LONGEST_FILE_NAME = 255  # bytes, on every common file system

_ENDINGS = {
    Role.VIDEO: ".mp4",
    Role.WATERMARK: ".watermark.mp4",  # the longest one: what has room for it has room for all
    Role.POSTER: ".poster.webp",
    Role.SHEET: ".sheet.webp",
}
_SAFE_LABEL = r"[a-z0-9][a-z0-9_-]{0,31}\Z"

SPEC_SUFFIXES = (".yaml", ".yml", ".json", ".toml")

_CONFLICT = r"(?:conflict|konflikt|conflit|conflitt)"
# Texts, which `re` compiles where a name needs them: hardly one does.
# Said by the word itself, whether the original is still there or not. `of` is the original's name.
_CERTAIN = (
    r"(?i)(?P<of>.+?)\.sync-conflict-\d{8}-\d{6}(?:-\w+)?",  # Syncthing
    # Dropbox, Nextcloud, Seafile, pCloud: `v (Ann's conflicted copy 2026-11-02)`, `v (SFConflict a@b.c …)`
    rf"(?i)(?P<of>.+?)[ ._-]*[(\[][^()\[\]]*{_CONFLICT}[^()\[\]]*[)\]]",
    # Synology Drive, ownCloud, Resilio: `v_NAS_Nov-02-1030-2026_Conflict`, `v_conflict-20261102-103000`, `v.Conflict`
    rf"(?i)(?P<of>.+?)(?:_[^_]+_\w{{3}}-\d\d-\d{{4}}-\d{{4}})?[._]{_CONFLICT}(?:ed)?(?:[-_ (]*\d[-\d]*\)?)?",
)
_NUMBER = r"(?: ?\(?\d{1,3}\)?)?"
# A name of its own as well: a copy only where the original stands beside it.
_DOUBTFUL = (
    rf"(?i)(?:copy|kopie|copie|copia){_NUMBER} (?:of|von|de|di) (?P<of>.+)",
    rf"(?i)(?P<of>.+?) (?:- )?(?:copy|kopie|copie|copia){_NUMBER}",  # macOS, Windows
    r"(?i)(?P<of>.+?) \((?:\w+ )?(?:copy|kopie|copie|copia)(?: \d{1,3})?\)",  # GNOME
    r"(?P<of>.+?)(?: \d{1,3}| ?\(\d{1,3}\))",  # Finder, iCloud, browsers, Google Drive
    r"(?P<of>.+?)[_.](?:BASE|LOCAL|REMOTE|BACKUP)[_.]\d+",  # git mergetool
    # OneDrive adds the machine's name: those that no person gives to a spec
    r"(?P<of>.+?)-(?:(?:DESKTOP|LAPTOP|WIN)-[A-Z0-9]{4,}|\S*(?:MacBook|iMac|Mac-mini)\S*)(?:-\d+)?",
    rf"(?i)(?P<of>.+?)-{_CONFLICT}",
    rf"(?i)(?P<of>.+?)[-_](?:copy|kopie|copie|copia){_NUMBER}",
    r"(?P<of>.+?)(?: ?[-_]? ?|的)副本(?: ?\(?\d{1,3}\)?)?",  # Windows, macOS in Chinese
    r"(?i)(?P<of>.+?)(?:[ ._-](?:bak|backup|orig|tmp)|~)",
    r"~\$(?P<of>.+)",
)
# Part of every name that one of these fits: a quick check that nearly all names fail.
_MARKS = (
    rf"(?i)[ (\[]|{_CONFLICT}|[_.](?:BASE|LOCAL|REMOTE|BACKUP)[_.]|-(?:DESKTOP|LAPTOP|WIN)-|Mac"
    r"|[-_]cop|[-_]kop|副本|~|[._-](?:bak|orig|tmp)"
)
_SLIPS = r"(?i)\.(?:ya?ml|json|toml)(?:\.txt|[_.,;])\Z"
# Of one name; each costs time in proportion to its length.
_MOST_COPIES = 10
_OTHER_FORMATS = frozenset({".jsonl"})  # one letter away, and meant


def join(folder: str, name: str) -> str:
    """Return the path of a name in a folder; the root is empty."""
    return f"{folder}/{name}" if folder else name


def output_path(spec: str, label: str, role: Role = Role.VIDEO) -> str:
    """Return where a result is published: beside its spec, named after it and its label."""
    return f"{_stem(spec)}{'.' if label else ''}{label}{_ENDINGS[role]}"


def receipt_path(spec: str) -> str:
    """Return the path of a spec's receipt."""
    return f"{_stem(spec)}.receipt.json"


def _stem(spec: str) -> str:
    stem, dot, suffix = spec.rpartition(".")
    return stem if dot and "/" not in suffix else spec


def label_part(value: object) -> str:
    """Return a matrix value as a part of a file name: itself where that is safe, else shortened and with a digest."""
    text = value
    if not isinstance(text, str):
        text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    if re.match(_SAFE_LABEL, text):
        return text
    slug = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:16].strip("-")
    return "-".join(filter(None, (slug, hashlib.sha256(text.encode()).hexdigest()[:8])))


def combination_label(values: Iterable[object]) -> str:
    """Return the label of matrix values; a long one is shortened and gets a digest."""
    label = ".".join(label_part(value) for value in values)
    if len(label) <= LONGEST_LABEL:
        return label
    digest = hashlib.sha256(label.encode()).hexdigest()[:8]
    return f"{label[: LONGEST_LABEL - 9].rstrip('.-')}-{digest}"


class Copy(NamedTuple):
    """The files that a name looks like a copy of."""

    originals: tuple[str, ...]  # the nearest first: a copy of a copy has several
    is_certain: bool  # the name says so by itself; else one of the originals must be there


def copied_from(stem: str) -> Copy | None:
    """Return what a file of this name (without folder and suffix) looks like a copy of; None for no copy."""
    if not re.search(_MARKS, stem):
        return None
    originals: list[str] = []
    certain = False
    while len(originals) < _MOST_COPIES:
        matches = (re.fullmatch(pattern, stem) for pattern in (*_CERTAIN, *_DOUBTFUL))
        if (match := next(filter(None, matches), None)) is None:
            break
        stem = match["of"]
        originals.append(stem)
        certain = certain or match.re.pattern in _CERTAIN or len(originals) == _MOST_COPIES
    return Copy(tuple(originals), certain) if originals else None


def spec_meant(name: str) -> str:
    """Return the name of a spec that a misspelt file name (without folder) probably means; else an empty string."""
    if name[name.rfind(".") + 1 :][:1].lower() not in "yjt":  # nearly every file: a film, an image
        return ""
    if slip := re.search(_SLIPS, name):
        stem, suffix = name[: slip.start()], slip.group()
        return stem + next(end for end in SPEC_SUFFIXES if suffix.lower().startswith(end))
    stem, dot, ending = name.rpartition(".")
    suffix = f"{dot}{ending}".lower()
    if not stem or suffix in SPEC_SUFFIXES or suffix in _OTHER_FORMATS or suffix.endswith("~"):
        return ""
    return next((stem + meant for meant in SPEC_SUFFIXES if _is_a_slip(suffix, meant)), "")


def _is_a_slip(suffix: str, meant: str) -> bool:
    """Whether one letter too many, too few, wrong or swapped (not the first) is all that differs."""
    if suffix[:2] != meant[:2] or abs(len(suffix) - len(meant)) > 1:
        return False
    at = next((n for n, (a, b) in enumerate(zip(suffix, meant, strict=False)) if a != b), None)
    if at is None:
        return True
    rest, wanted = suffix[at:], meant[at:]
    swapped = rest[:2] == wanted[1::-1] and rest[2:] == wanted[2:]
    return swapped or rest[1:] in {wanted[1:], wanted} or rest == wanted[1:]
