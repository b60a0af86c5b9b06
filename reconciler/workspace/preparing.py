"""Making of a file what the API takes, in a process of its own (`decoding`): a photo's JPEG, a film's MP4.

An encoder takes minutes and much memory: each file has its own process, which is ended with whoever waits for it.
"""

from __future__ import annotations

import hashlib
import json
from decimal import Decimal
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, Final

from reconciler.core.motion_control import (
    SHORTEST_SECONDS,
    Preparation,
    Source,
    image_faults,
    spoken,
    video_faults,
    whole_seconds,
)
from reconciler.core.preparation import PREPARABLE_BYTES
from reconciler.workspace.decoding import MEBIBYTE, Answer, Bounds, Decoder
from reconciler.workspace.films import probe_video
from reconciler.workspace.flaws import Flaw, MediaError
from reconciler.workspace.images import probe_image
from reconciler.workspace.transcoding import reencode, transcode

LONGEST: Final = 1800  # s of the processor, and by the clock
_MEMORY: Final = {
    "image_url": 2048 * MEBIBYTE,
    "video_url": 2560 * MEBIBYTE,
}  # bytes; an 8K film in 10 bits takes 2000 MiB
_VERSION: Final = (
    5  # raise it when what is made of a file should be made anew; it is in no identity
)


def recipe(key: str, source: Source, preparation: Preparation) -> str:
    """Return the name of what is made of a file: by its bytes, what it is for, and how it is made."""
    parts = [_VERSION, key, source.sha256, str(preparation.start), str(preparation.end)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def preparing(key: str) -> Decoder:
    """Return the process for one file, which is not started yet; whoever asks it closes it."""
    written = PREPARABLE_BYTES[key]
    return Decoder(Bounds(LONGEST, LONGEST, _MEMORY[key], written=written, niceness=10))


def make(
    process: Decoder, key: str, source: int, target: tuple[Path, int], preparation: Preparation
) -> None:
    """Make of an open file (a descriptor) what the API takes, at `target`: a path, and what holds its lock.

    Raises:
        Flaw: the file is at fault, which an `Unfinished` need not be another time.
        OSError: the machine is: a full disk.
        ToldMistake: we are.
    """
    path, lock = target
    end = "" if preparation.end is None else str(preparation.end)
    process.ask("prepare", [key, str(path), str(preparation.start), end], source, lock)


# From here on: what the process does.


def prepare(
    source: BufferedReader, _lock: BinaryIO, key: str, target: str, start: str, end: str
) -> Answer:
    """Make one file. Raises `Flaw`."""
    made = Path(target)
    source.seek(0)
    try:
        if key == "image_url":
            made.write_bytes(reencode(source))
        else:
            transcode(source, made, float(start), float(end))
        faults = _faults(key, made, Decimal(end or 0) - Decimal(start))
    except MediaError as error:
        raise Flaw(f"cannot be prepared: {error.message}") from error
    if faults:
        raise Flaw(f"cannot be prepared: {faults[0]}")
    return Answer([])


def _faults(key: str, made: Path, counted: Decimal) -> list[str]:
    """Return what is wrong with what was made: nothing, or the encoder is not what we take it for.

    A film that would be billed as longer than it was `counted` (s) is never sent: no cap would hold.
    """
    size = made.stat().st_size
    if key == "image_url":
        image = probe_image(made)
        return image_faults(Source(size=size, width=image.width, height=image.height))
    film = probe_video(made)
    faults = video_faults(Source(size=size, width=film.width, height=film.height), "video")
    seconds = film.seconds or Decimal(0)
    if whole_seconds(seconds) < SHORTEST_SECONDS:
        lasts = f"what is left of it lasts {spoken(seconds)} s"
        faults.append(f"{lasts}: at least {SHORTEST_SECONDS} s are needed")
    if whole_seconds(seconds) > whole_seconds(counted):
        lasts = f"what is made of it lasts {spoken(seconds)} s"
        faults.append(f"{lasts}, and only {spoken(counted)} s of it were priced; export it again")
    return faults
