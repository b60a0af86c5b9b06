"""Local media files: what a spec's input is, and whether a result is a whole video.

The readers of each kind are in `images` and `films`; the limits of the API are the core's. They run in another process
(`decoding`), where `judge` and `examine` answer; what a file turned out to be is remembered by its digest.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from io import BufferedReader
from pathlib import Path

from reconciler.core.errors import SpecError
from reconciler.core.sources import (
    IMAGE,
    MEDIUMS,
    PREPARABLE_PIXELS,
    Source,
    format_faults,
    limit_faults,
    too_large,
)
from reconciler.workspace.decoding import MEDIA as DECODER
from reconciler.workspace.decoding import RESULTS, Answer, Beyond, Unfinished
from reconciler.workspace.files import describe_os_error, digest, open_plain
from reconciler.workspace.films import (
    VideoFacts,
    boxes,
    check_container,
    check_frames,
    longest_seconds,
    read_facts,
)
from reconciler.workspace.flaws import Flaw
from reconciler.workspace.images import ImageFacts, check_pixels, image_facts
from reconciler.workspace.outputs import Signature
from reconciler.workspace.verdicts import Verdict, Verdicts

__all__ = [
    "ImageFacts", "MediaError", "PassingError", "ResultFacts", "VideoFacts", "examine", "examine_result", "file_sha256", "judge", "opened_media", "probe_image", "probe_video", "read_source",
]  # fmt: skip


class MediaError(SpecError):
    """A media file cannot be used."""


class PassingError(MediaError):
    """A media file cannot be used at the moment; as it is, it may be another time."""


@dataclass(frozen=True, slots=True)
class ResultFacts:
    """A result as it came from the provider."""

    seconds: float | None  # to the millisecond; None where no decoder of ours gets through it
    width: int | None = None  # px, as shown
    height: int | None = None  # px
    decodes: bool = False  # its first frame, and one near its end

    def __str__(self) -> str:
        remark = "" if self.decodes else ", with frames that do not decode here: look at it"
        if self.seconds is None:
            return "a whole file that cannot be decoded here: look at it"
        return f"{self.seconds:g} s, {self.width} × {self.height} px{remark}"


def file_sha256(path: Path) -> str:
    """Return a file's SHA-256 as 64 lower-case hex digits. Raises `WorkspaceError`."""
    try:
        with open_plain(path) as file:
            return digest(file)
    except OSError as error:
        raise describe_os_error(error, path) from error


def probe_image(path: Path) -> ImageFacts:
    """Return the facts of a JPEG or PNG file, whatever it is called. Raises `MediaError`."""
    with opened_media(path, path.name) as file:
        return image_facts(file)


def probe_video(path: Path) -> VideoFacts:
    """Return the facts of a film, whatever it is called; its length is the most that it can be said to last.

    Raises `MediaError`.
    """
    with opened_media(path, path.name) as file:
        return _film(file)


def read_source(root: Path, name: str, medium: str, verdicts: Verdicts | None = None) -> Source:
    """Return a local file (`name` relative to the root) as an input of a medium (its name).

    A file whose content has a verdict already is not decoded again; one that was not decoded to the end has none.

    Raises `MediaError` with a sentence when it is missing, of another kind than its name says, far too large, damaged, or changes while it is read. Whether the API takes it as it is, is not asked here.
    """
    verdicts = verdicts or Verdicts()
    with opened_media(root / name, name) as file:
        before = Signature.of(os.fstat(file.fileno()))
        if fault := too_large(MEDIUMS[medium], before.size, prepare=True):
            raise MediaError(f"`{name}`: {fault}")
        sha256 = digest(file)
        known = verdicts.of(sha256, medium)
        verdict = known or _judged(file, medium)
        after = Signature.of(os.fstat(file.fileno()))
    if before != after:
        raise PassingError(
            f"`{name}` changed while it was read: it is looked at again once it is quiet"
        )
    if known is None:
        verdicts.put(sha256, medium, verdict)
    if verdict.flaw:
        raise MediaError(f"`{name}` {verdict.flaw}")
    return Source(
        path=name,
        sha256=sha256,
        size=before.size,
        width=verdict.width,
        height=verdict.height,
        seconds=verdict.seconds,
        format=verdict.format,
        codec=verdict.codec,
        rotation=verdict.rotation,
        mirrored=verdict.mirrored,
    )


def examine_result(path: Path) -> ResultFacts:
    """Return what a result that is a whole MP4 turned out to be.

    Whole means: its boxes end exactly where the file does, `ftyp`, `moov` and `mdat` are among them, and a video
    stream of some length can be opened. Raises `MediaError` otherwise. A frame that does not decode here makes
    nothing less whole, nor does a crash of our decoder: what is paid for is saved, and said to be looked at.
    """
    with opened_media(path, path.name) as file:
        missing = {b"ftyp", b"moov", b"mdat"} - set(_whole_boxes(file))
        if missing:
            names = ", ".join(sorted(box.decode() for box in missing))
            raise Flaw(f"is not a whole MP4: it has no `{names}` part")
        try:
            seconds, width, height, decodes = RESULTS.ask("examine", [], file.fileno()).facts
        except Beyond:
            return ResultFacts(None)
    return ResultFacts(float(seconds), int(width), int(height), bool(decodes))


@contextlib.contextmanager
def opened_media(path: Path, name: str) -> Iterator[BufferedReader]:
    """Open a media file; what the system says against it, or a reader in the block, becomes a `MediaError`."""
    try:
        with open_plain(path) as file:
            yield file
    except Unfinished as flaw:
        raise PassingError(f"`{name}` {flaw}") from flaw
    except Flaw as flaw:
        raise MediaError(f"`{name}` {flaw}") from flaw
    except FileNotFoundError as error:
        raise MediaError(f"`{name}` does not exist") from error
    except OSError as error:
        raise PassingError(describe_os_error(error, name).message) from error


def _judged(file: BufferedReader, medium: str) -> Verdict:
    """Return the verdict on a file; what may be another one next time is raised."""
    try:
        return Verdict.of_row(DECODER.ask("judge", [medium], file.fileno()).facts)
    except Unfinished:
        raise
    except Flaw as flaw:
        return Verdict(flaw=str(flaw))


# From here on: what the other process does.


def judge(file: BufferedReader, medium: str) -> Answer:
    """Decode a file as far as its header gives reason to, and answer with a verdict's row. Raises `Flaw`."""
    verdict = _judge_video(file) if MEDIUMS[medium].codec else _judge_image(file)
    return Answer(verdict.row())


def examine(file: BufferedReader) -> Answer:
    """Answer with a result's length (s), sides (px), and whether it decodes. Raises `Flaw`."""
    facts = read_facts(file)
    if facts.seconds is None or facts.seconds <= 0:
        raise Flaw("holds a video of no length")
    decodes = False
    with suppress(Flaw):
        check_frames(file)
        decodes = True
    return Answer([str(facts.seconds), facts.width, facts.height, decodes])


def _judge_image(file: BufferedReader) -> Verdict:
    facts = image_facts(file)
    source = Source(width=facts.width, height=facts.height, format=facts.format)
    # Another format is decoded where it is made into a JPEG, in a process of its own.
    if not limit_faults(IMAGE, source) and not format_faults(IMAGE, source):
        check_pixels(file)
    coded = facts.format, "", facts.rotation, facts.mirrored
    return Verdict(facts.width, facts.height, None, *coded)


def _judge_video(file: BufferedReader) -> Verdict:
    facts = _film(file)
    if facts.width * facts.height <= PREPARABLE_PIXELS:  # a larger one is refused for that
        check_frames(file)
    coded = facts.format, facts.codec, facts.rotation, facts.mirrored
    return Verdict(facts.width, facts.height, facts.seconds, *coded)


def _film(file: BufferedReader) -> VideoFacts:
    check_container(file)
    facts = read_facts(file)
    return replace(facts, seconds=longest_seconds(file, facts.seconds))


def _whole_boxes(file: BufferedReader) -> Iterator[bytes]:
    """Yield the kind of every top-level box; they must end exactly where the file does."""
    size = os.fstat(file.fileno()).st_size
    at = 0
    for box in boxes(file):
        if box.end > size:
            break
        yield box.kind
        at = box.end
    if at != size:
        raise Flaw(f"is not a whole MP4: it is broken off or damaged at byte {at} of {size}")
