"""A sample of the campaign of kills during uploads; the whole is `python -m tests.hosting.campaign`."""

from __future__ import annotations

import pytest

from tests.hosting.campaign import campaign


@pytest.mark.parametrize("seed", [1, 2])
def test_kills_during_uploads_cost_nothing(seed: int) -> None:
    """Every object is there once and no other, every id is billed once, every URL could be read when it was sent."""
    assert "8 ids billed once" in campaign(videos=8, kills=3, seed=seed)
