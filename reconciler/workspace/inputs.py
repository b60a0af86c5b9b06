"""Finding the media that specs name: what a path means, whether it stays inside the root, what the file is.

One `Inputs` serves one load: a file that many specs use is looked at once, and read only when its signature is
not one that an earlier load remembers.
"""

from __future__ import annotations

import os
import posixpath
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from reconciler.core.documents import Node, nearest
from reconciler.core.motion_control import (
    MEDIA_FIELDS,
    Source,
    image_faults,
    url_fault,
    video_faults,
)
from reconciler.core.specs import Wish
from reconciler.workspace.documents import DocumentError
from reconciler.workspace.media import MediaError, read_source
from reconciler.workspace.outputs import Signature
from reconciler.workspace.reading import fail
from reconciler.workspace.spec_cache import Media, Remembered

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


class Root:
    """The project's root, and whether a name in it leads out of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._prefix = f"{path}/"
        self._real = os.path.realpath(path)
        self._folders: dict[str, bool] = {}

    def holds(self, name: str) -> bool:
        """Whether a name, symbolic links followed, lies inside the root."""
        return self._holds_folder(name.rpartition("/")[0]) and self._inside(name)

    def signature(self, name: str) -> Signature | None:
        """Return the signature of what a name leads to; None when that is nothing or outside the root."""
        try:
            status = os.lstat(self._prefix + name)
            if not self._holds_folder(name.rpartition("/")[0]):
                return None
            if stat.S_ISLNK(status.st_mode):
                if not self._inside(name):
                    return None
                status = (self.path / name).stat()
        except (OSError, ValueError):
            return None
        return Signature.of(status)

    def _holds_folder(self, folder: str) -> bool:
        if folder not in self._folders:
            self._folders[folder] = self._inside(folder)
        return self._folders[folder]

    def _inside(self, name: str) -> bool:
        real = os.path.realpath(self.path / name)
        return real == self._real or real.startswith(self._real.rstrip("/") + "/")


class Inputs:
    """The media of one load."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self._signatures: dict[str, Signature | None] = {}
        self._sources: Media = {}
        self._faulty: dict[tuple[str, str], str] = {}

    def recall(self, known: Remembered) -> bool:
        """Take over what an earlier load knew of files that are as they were, and say whether all are."""
        current = True
        for row in known.media:
            file = row[0], row[1]
            if not known.was(row, self.signature(row[0])):
                current = False
            elif file not in self._sources:
                self._sources[file] = known.source(row)
        return current

    def recalled(self, path: str, key: str) -> Source:
        """Return a file that `recall` took over. Raises LookupError when it did not."""
        return self._sources[path, key][1]

    def signature(self, name: str) -> Signature | None:
        """Return the signature of a local file, or None when it is missing or outside the root."""
        if name not in self._signatures:
            self._signatures[name] = self._root.signature(name)
        return self._signatures[name]

    def of(self, wish: Wish) -> tuple[Source, Source]:
        """Return a wish's image and video. Raises `DocumentError` with the first problem at the place that names it."""
        image = self._source(wish.media["image_url"], "image_url")
        video = self._source(wish.media["video_url"], "video_url")
        for key, sentence in _limits_broken(wish, image, video):
            raise fail(wish.media[key].place, sentence, key)
        return image, video

    def read_as(self, image: Source, video: Source) -> Media:
        """Return the local files among these, with the signatures they were read under."""
        used = (
            (source.path, key) for key, source in zip(MEDIA_FIELDS, (image, video), strict=True)
        )
        return {file: self._sources[file] for file in used if file[0]}

    def _source(self, node: Node, key: str) -> Source:
        written = str(node.value)
        if written.lower().startswith(("http:", "https:")):
            if fault := url_fault(written):
                raise fail(node.place, fault, key)
            return Source(url=written)
        name = self._name(node, key)
        found = self.signature(name)
        if found is None:
            raise self._missing(node, name, key)
        remembered = self._sources.get((name, key))
        if remembered is not None and remembered[0] == found:
            return remembered[1]
        return self._read(node, name, key, found)

    def _read(self, node: Node, name: str, key: str, found: Signature) -> Source:
        if (name, key) not in self._faulty:
            try:
                source = read_source(self._root.path, name, key)
            except MediaError as error:
                self._faulty[name, key] = error.message
            else:
                self._sources[name, key] = (found, source)
                return source
        raise fail(node.place, self._faulty[name, key], key)

    def _name(self, node: Node, key: str) -> str:
        """Return a written path relative to the root, or raise what is wrong with it."""
        written = str(node.value)
        if scheme := _SCHEME.match(written):
            sentence = f"`{written[:80]}` has the scheme `{scheme.group()}`: `{key}` takes a file beside the spec or an http(s) URL"
            raise fail(node.place, sentence, key)
        if written.startswith(("/", "~")):
            sentence = f"`{written[:80]}` is an absolute path: write it relative to this file"
            raise fail(node.place, sentence, key)
        name = posixpath.normpath(posixpath.join(posixpath.dirname(node.place.file), written))
        if name == ".." or name.startswith("../") or not self._root.holds(name):
            raise fail(node.place, f"`{written[:80]}` leads out of the project", key)
        return name

    def _missing(self, node: Node, name: str, key: str) -> DocumentError:
        folder, wanted = posixpath.split(name)
        try:
            names = sorted(path.name for path in (self._root.path / folder).iterdir())[:1000]
        except OSError:
            names = []
        by_lower = {other.lower(): other for other in names}
        meant = by_lower.get(nearest(wanted, by_lower), "")
        suggestion = posixpath.join(posixpath.dirname(str(node.value)), meant) if meant else ""
        return fail(node.place, f"`{name[:200]}` does not exist", key, suggestion)


def _limits_broken(wish: Wish, image: Source, video: Source) -> Iterator[tuple[str, str]]:
    """Yield (key, sentence) for the API's limits that local files break; of URLs nothing is known."""
    if image.path:
        yield from (("image_url", fault) for fault in image_faults(image))
    if video.path:
        orientation = wish.spec.character_orientation
        yield from (("video_url", fault) for fault in video_faults(video, orientation))
