"""A simulator with keys that are easy to find again, and a project that uses them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.project import Project
from tests.support.simulator import Simulator, simulator

KEYS: dict[str, Any] = {
    "access_key": "AK-distinctive-access-7f3a9c",
    "secret_key": "SK-distinctive-secret-b81e04d2-long-enough-to-sign",
    "api_key": "api-distinctive-static-5d6e7f",
}


@pytest.fixture
def sim() -> Iterator[Simulator]:
    """A simulator of its own, with these keys."""
    with simulator(**KEYS) as running:
        yield running


@pytest.fixture
def project(tmp_path: Path, sim: Simulator) -> Project:
    """A project whose settings lead to the test's simulator."""
    return Project(tmp_path / "project", sim.env())
