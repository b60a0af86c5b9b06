"""Fixtures of the workspace's tests."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import settings

from .builders import Project

settings.register_profile("shared-machine", deadline=None)
settings.load_profile("shared-machine")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "project")


@pytest.fixture(autouse=True)
def an_hour_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are read an hour after they were written: nobody can set a ctime back, as `settle` does with an mtime."""
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() + 3600 * 10**9)
