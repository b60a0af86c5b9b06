"""A sample of the long soak: six virtual hours of a daemon with edits, outages and restarts."""

from __future__ import annotations

from pathlib import Path

from tests.simulation.soak import Soak


def test_days_of_edits_outages_and_restarts_buy_nothing_twice_and_lose_nothing(
    tmp_path: Path,
) -> None:
    """Whatever is billed is billed once and saved with its own bytes, and in the end there is nothing to do."""
    soak = Soak(tmp_path, days=0.25, generations=30, seed=1)
    assert soak.run() == []
    assert soak.generations - soak._user.left >= 30 or sum(soak._billed().values()) >= 15
    assert sum(soak.restarts.values()) >= 1
