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

from reconciler.core.sources import (
    MEDIUMS,
    SHORTEST_SECONDS,
    Medium,
    Preparation,
    Source,
    limit_faults,
    spoken,
    whole_seconds,
)
from reconciler.workspace.media.decoding import MEBIBYTE, Answer, Bounds, Decoder
from reconciler.workspace.media.films import probe_video
from reconciler.workspace.media.flaws import Flaw, MediaError
from reconciler.workspace.media.images import probe_image
from reconciler.workspace.media.transcoding import reencode, transcode

LONGEST: Final = 1800  # s of the processor, and by the clock
# Bytes; an 8K film in 10 bits takes 2000 MiB.
_MEMORY: Final = {"image": 2048 * MEBIBYTE, "video": 2560 * MEBIBYTE}
# Raise it when what is made of a file should be made anew; it is in no identity.
_VERSION: Final = 5


def recipe(medium: Medium, source: Source) -> str:
    """Return the name of what is made of a file: by its bytes, what it is for, and how it is made."""
    kept = source.preparation or Preparation()
    parts = [_VERSION, medium.name, source.sha256, str(kept.start), str(kept.end)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def encoder(medium: Medium) -> Decoder:
    """Return the process for one file, which is not started yet; whoever asks it closes it."""
    written = medium.readable
    return Decoder(Bounds(LONGEST, LONGEST, _MEMORY[medium.name], written=written, niceness=10))


def make(
    process: Decoder, medium: Medium, kept: Preparation, file: int, target: tuple[Path, int]
) -> None:
    """Make of an open file (a descriptor) what the API takes, at `target`: a path, and what holds its lock.

    Raises:
        Flaw: the file is at fault, which an `Unfinished` need not be another time.
        OSError: the machine is: a full disk.
        ToldMistake: we are.
    """
    path, lock = target
    end = "" if kept.end is None else str(kept.end)
    process.ask("prepare", [medium.name, str(path), str(kept.start), end], file, lock)


# From here on: what the process does.


def prepare(
    source: BufferedReader, _lock: BinaryIO, name: str, target: str, start: str, end: str
) -> Answer:
    """Make one file. Raises `Flaw`."""
    made, medium = Path(target), MEDIUMS[name]
    source.seek(0)
    try:
        if medium.codec:
            transcode(source, made, float(start), float(end))
        else:
            made.write_bytes(reencode(source))
        faults = _faults(medium, made, Decimal(end or 0) - Decimal(start))
    except MediaError as error:
        raise Flaw(f"cannot be prepared: {error.message}") from error
    if faults:
        raise Flaw(f"cannot be prepared: {faults[0]}")
    return Answer([])


def _faults(medium: Medium, made: Path, counted: Decimal) -> list[str]:
    """Return what is wrong with what was made: nothing, or the encoder is not what we take it for.

    A film that would be billed as longer than it was `counted` (s) is never sent: no cap would hold.
    """
    film = probe_video(made) if medium.codec else None
    facts = film or probe_image(made)
    size = made.stat().st_size
    faults = limit_faults(medium, Source(size=size, width=facts.width, height=facts.height))
    if film is None:
        return faults
    seconds = film.seconds or Decimal(0)
    if whole_seconds(seconds) < SHORTEST_SECONDS:
        lasts = f"what is left of it lasts {spoken(seconds)} s"
        faults.append(f"{lasts}: at least {SHORTEST_SECONDS} s are needed")
    if whole_seconds(seconds) > whole_seconds(counted):
        lasts = f"what is made of it lasts {spoken(seconds)} s"
        faults.append(f"{lasts}, and only {spoken(counted)} s of it were priced; export it again")
    return faults
