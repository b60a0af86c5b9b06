"""A command line without any key, and a simulator to point it at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.simulator import Simulator, simulator

from .shell import Shell


@pytest.fixture
def shell(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Shell:
    for name in ("KLING_ACCESS_KEY", "KLING_SECRET_KEY", "KLING_API_KEY", "KLING_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    return Shell(tmp_path / "project", capsys)


@pytest.fixture
def sim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulator]:
    with simulator(tmp_path / "simulator") as running:
        for name, value in running.env().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("RECONCILER_POLL_INTERVAL", "0.05")
        monkeypatch.setenv("RECONCILER_POSTERS", "false")  # each takes a process that decodes
        monkeypatch.setenv("RECONCILER_ABSENCE_GRACE", "0.5")
        yield running


@pytest.fixture
def posters(shell: Shell, sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A poster is made of each video, as where nothing is set; `shell` comes first, which takes all keys away."""
    monkeypatch.delenv("RECONCILER_POSTERS")
