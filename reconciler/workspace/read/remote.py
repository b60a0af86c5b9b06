"""Media that specs name by URL: where each is named, and what is wrong with a sample that was fetched of it."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Collection, Iterator, Sequence
from io import BufferedReader
from pathlib import Path
from typing import NamedTuple, cast
from urllib.parse import urlsplit

from reconciler.core import media_rules
from reconciler.core.documents import Place, Problem
from reconciler.workspace.media.decoding import MEDIA
from reconciler.workspace.media.films import boxes
from reconciler.workspace.media.flaws import Evident, Flaw
from reconciler.workspace.media.judging import as_ends
from reconciler.workspace.read.loader import Reader
from reconciler.workspace.read.local import KnownMedia
from reconciler.workspace.tree.walk import specs_folder, walk

Parts = Sequence[tuple[int, bytes]]  # where each begins, and its bytes
_LARGEST = 128 * 1024**2  # bytes of a sparse file; what is larger breaks a limit anyway


class Remote(NamedTuple):
    """A URL as a spec names it."""

    spec: str
    place: Place
    wanted: media_rules.Input
    url: str

    def problem(self, sentence: str) -> Problem:
        """Return a problem at the place that names the URL; user, password and signature are left out."""
        parts = urlsplit(self.url)
        shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"[:120]
        return Problem(self.place, self.wanted.name, f"`{shown}` {sentence}")


def remote_media(
    root: Path, specs_dir: str, specs: Collection[str], prices: media_rules.Prices
) -> list[Remote]:
    """Return every URL that these specs name, once for each place and limit."""
    tree = walk(root, specs_folder(root, specs_dir))
    reader = Reader(tree, prices, KnownMedia(root, {}, patience=0), {})
    found: dict[Remote, None] = {}
    for spec in sorted(specs):
        for wish in reader.wishes(spec)[0]:
            for wanted in wish.kind.inputs(wish.spec):
                node = wish.media[wanted.name]
                if media_rules.is_url(url := str(node.value)):
                    found[Remote(spec, node.place, wanted, url)] = None
    return list(found)


def next_part(medium: media_rules.Medium, size: int | None, parts: Parts) -> int | None:
    """Return where more of a video's index lies, or may; None when all of it was read, or cannot be found."""
    if not medium.codec or size is None or size > _LARGEST:
        return None
    with _laid_out(size, parts) as file:
        seen = list(boxes(file))
    if not seen:
        return None
    index = next((box for box in seen if box.kind == b"moov"), None)
    at = read = index.begin if index else seen[-1].end
    for begin, data in sorted(parts):
        if begin <= read < begin + len(data):
            read = begin + len(data)  # so far, everything from `at` on was read
    if index:
        return read if read < min(index.end, size) else None
    return at if read == at < size else None


def remote_faults(remote: Remote, size: int | None, content_type: str, parts: Parts) -> list[str]:
    """Return a sentence, to go on after the URL, for each fault that a sample proves."""
    if size == 0 or not parts[0][1]:
        return ["leads to an empty file"]
    faults = as_ends(media_rules.size_faults(remote.wanted.medium, size or 0))
    whole = size is not None and len(parts[0][1]) == size
    length = len(parts[0][1]) if size is None else min(size, _LARGEST)
    with _laid_out(length, parts) as file:
        try:
            span = [str(said) for said in remote.wanted.span or ()]
            asked = [remote.wanted.medium.name, "whole" if size == length else "", *span]
            faults += MEDIA.ask("sample", asked, file.fileno()).facts
        except Flaw as flaw:
            if whole or isinstance(flaw, Evident):
                said = f" (it is announced as `{content_type}`)" if content_type else ""
                faults.append(f"{flaw}{said}")
    return faults


@contextlib.contextmanager
def _laid_out(size: int, parts: Parts) -> Iterator[BufferedReader]:
    """Yield a sparse file with the parts at their places, for the readers of local media."""
    with tempfile.TemporaryFile() as file:
        file.truncate(size)
        for begin, data in parts:
            file.seek(begin)
            file.write(data[: max(size - begin, 0)])
        file.seek(0)
        yield cast(BufferedReader, file)
