"""The entry point: `reconciler …` and `python -m reconciler …`."""

from __future__ import annotations

import sys

if __name__ == "__main__" and not sys.flags.safe_path:
    # The folder that `python -m` is started in: a commit's files would be our libraries.
    del sys.path[0]

import gc
import os
import signal

from reconciler.cli import streams


def main() -> None:
    """Run the command line and leave with its exit code; a signal is an interruption from the first line on."""
    streams.secure()
    # Else pydantic asks every installed distribution for code of its own to run on each value, keys included.
    os.environ["PYDANTIC_DISABLE_PLUGINS"] = "__all__"
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Ten thousand specs are values, not cycles: looking for some costs a quarter.
    gc.set_threshold(100_000)
    try:
        from reconciler.cli.main import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted\n")
        code = 130
    code = streams.end(code)
    gc.freeze()  # else the interpreter looks through all that is alive, twice, before it goes
    sys.exit(code)


if __name__ == "__main__":
    main()
