"""What is read of untrusted files by a library that such a file can crash: in a process of its own, without keys.

`python -P -m reconciler.workspace.apart FILE` says the sides of an image (px). It was an HEIC that took the whole program down.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from io import BufferedReader
from pathlib import Path
from typing import Final

from reconciler.workspace.children import environment
from reconciler.workspace.files import open_plain
from reconciler.workspace.flaws import Flaw

_MODULE: Final = "reconciler.workspace.apart"
_LONGEST: Final = 10  # s of the processor
_PATIENCE: Final = 60.0  # s
_UNUSABLE: Final = 3  # exit code: the file is at fault


def sides_of(file: BufferedReader) -> tuple[int, int]:
    """Return the sides (px) of an image by its header. Raises `Flaw`, also where the file makes its reader crash.

    Raises ImportError when the reader cannot even begin: that is no file's fault.
    """
    words = [sys.executable, "-P", "-m", _MODULE, f"/dev/fd/{file.fileno()}"]
    try:
        done = subprocess.run(  # noqa: S603 - no shell; our own module, by its name
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment(os.environ),
            pass_fds=[file.fileno()],
            timeout=_PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise Flaw("takes longer to open than a photo does; export it again") from error
    if done.returncode == 0:
        width, height = done.stdout.split()
        return int(width), int(height)
    if done.returncode == _UNUSABLE or done.returncode < 0:
        raise Flaw("is damaged: its image header cannot be read")
    raise ImportError(f"the process that opens it ended with {done.returncode}")


def _main(name: str) -> int:
    from reconciler.workspace.images import open_image

    resource.setrlimit(resource.RLIMIT_CPU, (_LONGEST, _LONGEST))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        with open_plain(Path(name)) as file:
            width, height = open_image(file).size
    except Flaw:
        return _UNUSABLE
    sys.stdout.write(f"{width} {height}")
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1]))
