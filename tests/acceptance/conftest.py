"""A simulator and a project for every acceptance test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.project import Project
from tests.support.simulator import Simulator, simulator


@pytest.fixture
def sim() -> Iterator[Simulator]:
    """A simulator of its own."""
    with simulator() as running:
        yield running


@pytest.fixture
def project(tmp_path: Path, sim: Simulator) -> Project:
    """A project whose settings lead to the test's simulator."""
    return Project(tmp_path / "project", sim.env())
