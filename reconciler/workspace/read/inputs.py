"""Finding the media that specs name: what a path means, whether it stays inside the root, what the file is."""

from __future__ import annotations

import functools
import heapq
import itertools
import os
import posixpath
import re
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

from reconciler.core import media_rules
from reconciler.core.documents import DocumentError, Node, fail, nearest
from reconciler.core.generations import Generation
from reconciler.core.specs import Wish
from reconciler.workspace.files.root import Root, Sight
from reconciler.workspace.media.flaws import MediaError
from reconciler.workspace.read.local import KnownMedia
from reconciler.workspace.read.spec_cache import Media, Remembered

_MOST_NAMES = 1000  # of a folder, that are considered for a suggestion
_MOST_COMPARED = 10  # of them, compared letter by letter, in half a millisecond each
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")

_MEDIA_OF = {
    suffix: medium
    for medium in media_rules.MEDIUMS.values()
    for suffix in medium.suffixes + medium.preparable
}


def may_be_meant(name: str, missing: str) -> bool:
    """Whether a name may be suggested for a missing one: an image for an image, and so on."""
    medium = _MEDIA_OF.get(posixpath.splitext(name)[1].lower())
    wanted = _MEDIA_OF.get(posixpath.splitext(missing)[1].lower(), medium)
    return medium is not None and medium is wanted


def _alike(one: str, other: str) -> int:
    """Return the number of letters in which two names begin and end alike."""
    pairs = zip(one, other, strict=False), zip(reversed(one), reversed(other), strict=False)
    return sum(next((n for n, (a, b) in enumerate(each) if a != b), len(one)) for each in pairs)


def _listed(root: Path, folder: str) -> list[str]:
    try:
        return sorted(os.listdir(root / folder))  # noqa: PTH208 - names
    except (OSError, ValueError):
        return []


class Inputs:
    """The media of one load or refresh, each looked at once."""

    def __init__(self, root: Root, looks: KnownMedia) -> None:
        self._root = root
        self._looks = looks
        self.sights: dict[str, Sight] = {}  # of every local file that was looked at
        self._looked_at: dict[str, None] = {}  # in order
        # Most specs name the same few files.
        self._shared: dict[media_rules.Source, media_rules.Source] = {}
        self._names_in = functools.cache(partial(_listed, root.path))
        self._target = functools.cache(root.target)

    def take_looked_at(self) -> tuple[str, ...]:
        """Return the local files, missing ones too, that were looked at since this was last asked."""
        names = tuple(self._looked_at)
        self._looked_at.clear()
        return names

    def recall(self, known: Remembered) -> bool:
        """Take what is remembered of the files that are unchanged; return whether all are."""
        current = True
        for path, medium, signature, source in known.media:
            if self.sight(path).file == signature:
                self._looks.sources.setdefault((path, medium), (signature, source))
            else:
                current = False
        return current

    def recalled(self, wish: Generation) -> dict[str, media_rules.Source]:
        """Return the inputs of a generation whose media are unchanged, with the targets of links as they are now."""
        followed = {name: self._followed(source) for name, source in wish.inputs.items()}
        return {name: self._shared.setdefault(one, one) for name, one in followed.items()}

    def sight(self, name: str) -> Sight:
        """Return how a local file was found, or is."""
        if name not in self.sights:
            self.sights[name] = Sight.of(self._root, name)
        return self.sights[name]

    def of(self, wish: Wish) -> dict[str, media_rules.Source]:
        """Return a wish's inputs by name. Raises `DocumentError` with the first problem."""
        wanted = wish.kind.inputs(wish.spec)
        found = {one.name: self._source(wish.media[one.name], one) for one in wanted}
        for one in wanted:
            for key, sentence in media_rules.limits_broken(one, found[one.name]):
                raise fail(wish.media[key].place, sentence, key)
        return {one.name: media_rules.as_sent(one, found[one.name]) for one in wanted}

    def read_as(self, wishes: Iterable[Generation]) -> Media:
        """Return the local files of generations, each with its signature when it was read."""
        used = (
            (wish.inputs[one.name].path, one.medium) for wish in wishes for one in wish.kind.INPUTS
        )
        files = ((path, medium.name) for path, medium in used if path)
        return {file: self._looks.sources[file] for file in files}

    def _source(self, node: Node, wanted: media_rules.Input) -> media_rules.Source:
        written, key = str(node.value), wanted.name
        if media_rules.is_url(written):
            if fault := media_rules.url_fault(written):
                raise fail(node.place, fault, key)
            return media_rules.Source(url=written)
        name = self._name(node, key)
        found = self.sight(name).file
        if found is None:
            raise self._missing(node, name, key)
        if fault := media_rules.too_large(wanted.medium, found.size, prepare=wanted.prepare):
            raise fail(node.place, f"`{name}`: {fault}", key)
        if fault := media_rules.suffix_fault(wanted, name):
            raise fail(node.place, fault, key)
        try:
            return self._followed(self._looks.source((name, wanted.medium.name), found))
        except MediaError as error:
            raise fail(node.place, error.message, key) from error

    def _followed(self, source: media_rules.Source) -> media_rules.Source:
        target = self._target(source.path) if source.path else ""
        return source if target == source.target else replace(source, target=target)

    def _name(self, node: Node, key: str) -> str:
        written = str(node.value)
        if scheme := _SCHEME.match(written):
            sentence = f"`{written[:80]}` has the scheme `{scheme.group()}`: `{key}` takes a file beside the spec or an http(s) URL"
            raise fail(node.place, sentence, key)
        if written.startswith(("/", "~")):
            sentence = f"`{written[:80]}` is an absolute path: write it relative to this file"
            raise fail(node.place, sentence, key)
        name = posixpath.normpath(posixpath.join(posixpath.dirname(node.place.file), written))
        fault = "leads out of the project"
        if name != ".." and not name.startswith("../"):
            self._looked_at[name] = None
            fault = self._root.fault(name)
        if fault:
            raise fail(node.place, f"`{written[:80]}` {fault}", key)
        return name

    def _missing(self, node: Node, name: str, key: str) -> DocumentError:
        folder, wanted = posixpath.split(name)
        names = (other for other in self._names_in(folder) if may_be_meant(other, wanted))
        by_lower = {other.lower(): other for other in itertools.islice(names, _MOST_NAMES)}
        alike = partial(_alike, wanted.lower())
        likely = heapq.nlargest(_MOST_COMPARED, by_lower, key=alike)
        meant = by_lower.get(nearest(wanted, likely), "")
        suggestion = posixpath.join(posixpath.dirname(str(node.value)), meant) if meant else ""
        return fail(node.place, f"`{name[:200]}` does not exist", key, suggestion)
