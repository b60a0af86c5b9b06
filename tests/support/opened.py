"""The program, and in the end on stderr which files of some folders it opened: `opened FOLDER;FOLDER ARGUMENT…`."""

from __future__ import annotations

import runpy
import sys


def main() -> None:
    """Run the program under a hook of the interpreter's own, which hears of every file that is opened."""
    folders = tuple(sys.argv.pop(1).split(";"))
    opened: list[str] = []

    def hear(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and str(arguments[0]).startswith(folders):
            opened.append(str(arguments[0]))

    sys.addaudithook(hear)
    try:
        runpy.run_module("reconciler", run_name="__main__", alter_sys=True)
    finally:
        sys.stderr.write(f"opened: {sorted(opened)}\n")


if __name__ == "__main__":
    main()
