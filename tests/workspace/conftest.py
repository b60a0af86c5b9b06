"""Fixtures of the workspace's tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

from .builders import Project

settings.register_profile("shared-machine", deadline=None)
settings.load_profile("shared-machine")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "project")
