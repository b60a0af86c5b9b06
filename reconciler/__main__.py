"""The entry point: `reconciler …` and `python -m reconciler …`."""

from __future__ import annotations

import gc
import sys


def main() -> None:
    """Run the command line and leave with its exit code."""
    from reconciler.cli.app import run

    gc.set_threshold(
        100_000
    )  # ten thousand specs are values, not cycles: looking for some costs a quarter
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
