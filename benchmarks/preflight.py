"""How long `reconciler validate` takes over local media, cold and warm, as a whole process.

A project of N images and M videos (one spec for each image; every video is named by several specs) is made, no two
files alike. `cold` has no cache and decodes everything; `warm` finds every file as it was; `touched` finds new times and
the old content, so it reads every byte again and decodes nothing. Only figures of one run can be compared.

    .venv/bin/python benchmarks/preflight.py --images 1000 --videos 100 --runs 3
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from PIL import Image

MEDIA = Path(__file__).parents[1] / "tests" / "media"
LONG_AGO = (
    1_700_000_000  # seconds; what changed this second is read again, which is not measured here
)
SPEC = """\
image_url: ../assets/{image}
video_url: ../assets/{video}
character_orientation: image
mode: std
"""


def main() -> None:
    """Make, measure, print."""
    options = _options()
    with tempfile.TemporaryDirectory(prefix="preflight-") as folder:
        root = Path(folder)
        make(root, options.images, options.videos)
        size = sum(file.stat().st_size for file in (root / "assets").iterdir())
        print(f"{options.images:,} images, {options.videos:,} videos, {size / 1e6:.0f} MB")
        measure(root, options.images, options.runs)


def make(root: Path, images: int, videos: int) -> None:
    """Make a project whose media are photographs of 1 megapixel and films of 5 s in 720p, each one of its own."""
    (root / "specs").mkdir()
    (root / "assets").mkdir()
    photograph = Image.open(MEDIA / "astronaut.png").resize((1024, 1024))
    for number in range(images):
        photograph.putpixel((number % 1024, number // 1024), (255, 0, 0))
        # Every other one is a PNG; fast packing makes the files a little larger.
        name = f"{number:05d}.{'png' if number % 2 else 'jpg'}"
        photograph.save(root / "assets" / name, compress_level=1, quality=92)
        video = f"{number % videos:05d}.mp4"
        (root / "specs" / f"{number:05d}.yaml").write_text(SPEC.format(image=name, video=video))
    film = (MEDIA / "bigbuckbunny.mp4").read_bytes()
    for number in range(videos):
        note = f"film {number:05d}".encode()  # a part that players skip
        part = (8 + len(note)).to_bytes(4, "big") + b"free" + note
        (root / "assets" / f"{number:05d}.mp4").write_bytes(film + part)
    touch(root, LONG_AGO)


def touch(root: Path, at: int) -> None:
    """Give every file this time, in seconds."""
    for file in root.glob("*/*"):
        if file.parent.name != "state":
            os.utime(file, (at, at))


def measure(root: Path, count: int, runs: int) -> None:
    """Run each state once per round and print the medians."""
    cache = root / "state" / "cache.db"
    states: dict[str, Callable[[int], object]] = {
        "cold": lambda _: cache.unlink(missing_ok=True),
        "warm": lambda _: None,
        "touched": lambda turn: touch(root, LONG_AGO + 1 + turn),
    }
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in states}
    for turn in range(runs):
        for name, prepare in states.items():
            prepare(turn)
            found[name].append(_timed(root, count))
    print(f"\n{'whole process, seconds':<26}{'median':>9}{'best':>9}{'cpu':>9}")
    for name, costs in found.items():
        wall, cpu = [one for one, _ in costs], [one for _, one in costs]
        print(
            f"{name:<26}{statistics.median(wall):>9.2f}{min(wall):>9.2f}{statistics.median(cpu):>9.2f}"
        )
    print(f"\nmost memory of a process: {_children().ru_maxrss / 1024:.0f} MiB")


def _timed(root: Path, count: int) -> tuple[float, float]:
    command = [sys.executable, "-m", "reconciler", "--root", str(root), "validate"]
    before, started = _children(), time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env=_environment(), check=False)
    seconds, after = time.perf_counter() - started, _children()
    if f"{count} generations: all well" not in done.stdout:
        sys.exit(f"validate said: {done.stdout[:400]}{done.stderr[:400]}")
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _children() -> resource.struct_rusage:
    return resource.getrusage(resource.RUSAGE_CHILDREN)


def _environment() -> dict[str, str]:
    ours = ("KLING", "RECONCILER_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=1000, help="how many (default 1,000)")
    parser.add_argument("--videos", type=int, default=100, help="how many (default 100)")
    parser.add_argument("--runs", type=int, default=3, help="rounds (default 3)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
