"""A simulator and a project against it, for every test of the engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.simulator import Simulator, simulator

from .world import World, world


@pytest.fixture
def sim(tmp_path: Path) -> Iterator[Simulator]:
    with simulator(tmp_path / "simulator") as running:
        yield running


@pytest.fixture
def project(tmp_path: Path, sim: Simulator) -> Iterator[World]:
    root = tmp_path / "project"
    root.mkdir()
    with world(root, sim) as opened:
        yield opened
