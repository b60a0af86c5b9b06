"""Commands that only read the state start without what writes it, and change nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.cli.project import ProjectRoot, open_folder
from reconciler.core.errors import StateError
from reconciler.store.repository import Repository
from tests.store.builders import fresh, record
from tests.support.database import open_repository

from .shell import Shell

_ROOT = Path(__file__).parents[2]
_RUN = """
import sys
from reconciler.cli.main import run
code = run(sys.argv[1:])
print(*sorted({"alembic", "sqlalchemy", "sqlmodel"} & sys.modules.keys()), file=sys.stderr)
sys.exit(code)
"""


@pytest.fixture
def bought(shell: Shell) -> Shell:
    """A folder with a spec, and a state that has a record."""
    shell.write("a.yaml")
    repository = open_repository(shell.root / "state" / "reconciler.db")
    repository.save([fresh(record())])
    repository.close()
    return shell


@pytest.mark.parametrize(
    "command",
    [
        "plan",
        "status",
        "status --json",
        "show specs/a.yaml",
        "show mc1-a",
        "validate",
        "spend",
        "backup copy.db",
    ],
)
def test_who_reads_the_state_imports_nothing_that_writes_it(
    bought: Shell, command: str, tmp_path: Path
) -> None:
    """SQLAlchemy, sqlmodel and Alembic, half of the time of a start, are not loaded to look at records."""
    done = subprocess.run(
        [sys.executable, "-c", _RUN, "--root", str(bought.root), *command.split()],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(_ROOT)},
        check=False,
    )
    assert (done.returncode, done.stderr.splitlines()[-1]) == (0, ""), done


def test_a_folder_that_was_opened_for_reading_is_not_written(bought: Shell) -> None:
    """Who asks it for the verbs that write reads a sentence; a folder that was opened to write has them."""
    with open_folder(ProjectRoot(bought.root)) as folder:
        assert list(folder.repository.records()) == ["mc1-a"]
        with pytest.raises(StateError, match="opened for reading only"):
            _ = folder.writable
    with open_folder(ProjectRoot(bought.root), write=True) as folder:
        assert isinstance(folder.writable, Repository)
