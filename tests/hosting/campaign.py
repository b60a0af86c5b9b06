"""The full campaign: local videos published and generated while `apply` is killed at random during its uploads.

    python -m tests.hosting.campaign                                   # 40 videos, 15 kills
    python -m tests.hosting.campaign --videos 40 --kills 15 --seed 7

Exit 1 when an object is missing, is there twice or is one that no spec names, when an id was billed twice, when a URL
could not be read at the moment at which it was sent, or when a key or a signature was written down.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.hosting.publishing import PATIENT, Shoot, assert_published, reader
from tests.support.bucket import bucket
from tests.support.simulator import simulator


def campaign(videos: int, kills: int, seed: int) -> str:
    """Play it; returns what was seen. Raises AssertionError when it breaks."""
    draw, killed = random.Random(seed), 0
    with (
        tempfile.TemporaryDirectory() as folder,
        simulator(render="stamp") as sim,
        bucket() as store,
        reader(sim.base_url) as seen,
    ):
        env = {**sim.env(), **store.env(), "KLING_BASE_URL": seen.url, **PATIENT}
        shoot = Shoot.prepare(Path(folder) / "project", env, videos)
        store.delay = 1.0
        while killed < kills and shoot.kill_during_uploads(store, draw):
            killed += 1
        store.delay = 0.0
        assert killed, "no kill met an upload"
        assert_published(shoot, store, sim, seen, killed)
        uploads = sum(store.uploads().values())
        return (
            f"{videos} videos, {killed} kills: {len(store.objects())} objects of {uploads} uploads, {store.cut} of them cut, "
            f"{len(sim.billed())} ids billed once each, {len(seen.read)} creates with a readable URL"
        )


def main(arguments: Sequence[str]) -> int:
    """Run the campaign; returns the exit code."""
    parser = argparse.ArgumentParser(description="Kill apply while it uploads.")
    parser.add_argument("--videos", type=int, default=40)
    parser.add_argument("--kills", type=int, default=15)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args(arguments)
    began = time.monotonic()
    try:
        sys.stdout.write(campaign(chosen.videos, chosen.kills, chosen.seed))
    except AssertionError as error:
        sys.stdout.write(f"BROKEN seed {chosen.seed}: {error}\n")
        return 1
    sys.stdout.write(f", {time.monotonic() - began:.0f} s\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
