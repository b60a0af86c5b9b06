"""Preparing a file in a process of its own: `python -P -m reconciler.workspace.preparing KEY SOURCE TARGET START END`.

Decoders are large and the files are untrusted: what crashes, hangs or swells takes nobody with it, and it can be
ended. It knows no settings and no key. It says what is wrong with the file in one line on stdout, and ends when its
stdin does: whoever started it is gone then.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import sys
import threading
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Final

from reconciler.core.errors import OURS, mistake
from reconciler.core.motion_control import (
    LONGEST_SECONDS,
    SHORTEST_SECONDS,
    Preparation,
    Source,
    image_faults,
    spoken,
    video_faults,
    whole_seconds,
)
from reconciler.core.preparation import PREPARABLE_BYTES
from reconciler.workspace.files import open_plain
from reconciler.workspace.flaws import Flaw
from reconciler.workspace.media import MediaError, probe_image, probe_video
from reconciler.workspace.reencoding import reencode
from reconciler.workspace.transcoding import Cut, transcode

if TYPE_CHECKING:
    pass

LONGEST: Final = 1800  # s of the processor
_VERSION: Final = (
    3  # raise it when what is made of a file should be made anew; it is in no identity
)
# Exit codes.
_UNUSABLE: Final = 3  # the file is at fault
_HINDERED: Final = 4  # the machine is: a full disk, no memory
_MISTAKEN: Final = 5  # we are
_NO_START: Final = frozenset({1, 2})  # what the interpreter ends with where it cannot even begin
_MODULE: Final = "reconciler.workspace.preparing"


def recipe(key: str, source: Source, preparation: Preparation) -> str:
    """Return the name of what is made of a file: by its bytes, what it is for, and how it is made."""
    parts = [_VERSION, key, source.sha256, str(preparation.start), str(preparation.end)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def command(key: str, source: Path, target: Path, preparation: Preparation) -> list[str]:
    """Return the command line that prepares a file; no module of the folder that we are in is ever run (`-P`)."""
    end = "" if preparation.end is None else str(preparation.end)
    words = [key, str(source), str(target), str(preparation.start), end]
    return [sys.executable, "-P", "-m", _MODULE, *words]


def verdict(exit_code: int, said: str) -> str:
    """Return what is to be said of a file after the process has ended, to go on after its name; empty for success."""
    if exit_code == 0:
        return ""
    if exit_code in {_UNUSABLE, _HINDERED, _MISTAKEN} and said.strip():
        return said.strip()
    if exit_code in _NO_START:
        return f"cannot be prepared: {OURS}: its process ended with {exit_code}; please report it"
    return f"cannot be prepared: the decoder ended with {exit_code}; export it again"


def is_final(exit_code: int) -> bool:
    """Whether the same file would fare no better another time."""
    return exit_code == _UNUSABLE


def main(arguments: list[str]) -> int:
    """Prepare one file; returns the exit code."""
    key, source, target, start, end = arguments
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    _limit(key)
    try:
        _prepare(key, Path(source), Path(target), start, end)
    except Flaw as flaw:
        said, code = str(flaw), _UNUSABLE
    except MediaError as error:
        said, code = f"cannot be prepared: {error.message}", _UNUSABLE
    except (OSError, MemoryError) as error:
        why = getattr(error, "strerror", "") or "there is not enough memory"
        said, code = f"cannot be prepared: {why}", _HINDERED
    except Exception as error:  # noqa: BLE001 - nobody reads a traceback of this process
        said, code = f"cannot be prepared: {mistake(error)}", _MISTAKEN
    else:
        return 0
    sys.stdout.write(said)
    return code


def _prepare(key: str, source: Path, target: Path, start: str, end: str) -> None:
    with open_plain(source) as file:
        file.seek(0)  # some systems open a descriptor's name where its reader stands
        if key == "image_url":
            target.write_bytes(reencode(file))
        else:
            # Whole seconds decide, so that a film may be half a second longer than its limit.
            last = Decimal(end) if end else Decimal(start) + max(LONGEST_SECONDS.values()) + 1
            transcode(file, target, Cut(float(start), float(last)))
    if faults := _faults(key, target):
        raise Flaw(f"cannot be prepared: {faults[0]}")


def _end_with_stdin() -> None:
    os.read(0, 1)
    os._exit(1)


def _limit(key: str) -> None:
    """Be nice to others, and end rather than swell or go on for ever."""
    os.nice(10)
    for what, most in (
        (resource.RLIMIT_CPU, LONGEST),
        (resource.RLIMIT_FSIZE, PREPARABLE_BYTES[key]),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(what)
        bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (bound, hard))


def _faults(key: str, made: Path) -> list[str]:
    """Return what is wrong with what was made: nothing, or the encoder is not what we take it for."""
    size = made.stat().st_size
    if key == "image_url":
        image = probe_image(made)
        return image_faults(Source(size=size, width=image.width, height=image.height))
    film = probe_video(made)
    faults = video_faults(Source(size=size, width=film.width, height=film.height), "video")
    if film.seconds is None or whole_seconds(film.seconds) < SHORTEST_SECONDS:
        lasts = f"what is left of it lasts {spoken(film.seconds or Decimal(0))} s"
        faults.append(f"{lasts}: at least {SHORTEST_SECONDS} s are needed")
    return faults


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
