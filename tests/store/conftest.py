from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.store.repository import Repository
from tests.support.database import open_repository


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Where the test's database is; nothing is there yet."""
    return tmp_path / "state" / "reconciler.db"


@pytest.fixture
def repository(database: Path) -> Iterator[Repository]:
    """An empty repository on a real file."""
    repository = open_repository(database)
    yield repository
    repository.close()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can reach, which pytest's own are not."""
    folder = Path(tempfile.mkdtemp(prefix="reconciler-store-"))
    yield folder
    shutil.rmtree(folder)
