"""What other users of the machine can read: nothing of the state, whatever the umask, and `.env` not without a word."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.simulator import Simulator

from .shell import Shell


@pytest.fixture
def open_handed() -> Iterator[None]:
    """A umask that leaves everything to everybody."""
    before = os.umask(0)
    yield
    os.umask(before)


def open_to_others(folder: Path) -> dict[str, str]:
    """Return what others than the owner may use, by its path below a folder."""
    modes = {path: stat.S_IMODE(path.lstat().st_mode) for path in (folder, *folder.rglob("*"))}
    return {
        str(path.relative_to(folder)): f"{mode:o}" for path, mode in modes.items() if mode & 0o077
    }


@pytest.mark.usefixtures("open_handed")
def test_the_state_is_its_owners_alone_and_the_results_are_not(
    shell: Shell, sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Database, objects, cache, lock and log are made for one user; videos and receipts keep the umask."""
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() + 3600 * 10**9)  # what is old is remembered
    shell.write("dance.yaml")
    assert shell("apply", "--yes")[0] == 0
    state = shell.root / "state"
    assert {path.name for path in state.iterdir()} >= {"lock", "reconciler.db", "cache.db"}
    assert open_to_others(state) == {}
    made = [path for path in (shell.root / "specs").iterdir() if path.suffix in {".mp4", ".json"}]
    assert {stat.S_IMODE(path.stat().st_mode) for path in made} == {0o666}
    assert list(sim.billed().values()) == [1]


@pytest.mark.usefixtures("open_handed")
def test_what_an_older_version_left_open_is_closed_by_the_next_run(
    shell: Shell, sim: Simulator
) -> None:
    """Files of ours, their folder, and nothing else: neither the project, nor what is reached by a link or a second name."""
    shell.write("dance.yaml")
    shell("apply", "--yes")
    state = shell.root / "state"
    outside = shell.root / "outside"
    outside.write_text("")
    (state / "cache.db").unlink(missing_ok=True)
    (state / "cache.db").symlink_to(outside)
    for path in (state, state / "objects", state / "reconciler.db", state / "lock", outside):
        path.chmod(0o777)
    assert "may use" in shell("doctor", "--quick")[1]
    assert shell("apply", "--yes")[0] == 0
    kept = ("", "objects", "reconciler.db", "lock")
    assert [stat.S_IMODE((state / name).stat().st_mode) for name in kept] == [0o700] * 4
    for path in (outside, shell.root / "specs"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o777


@pytest.mark.usefixtures("open_handed")
def test_a_folder_that_is_not_for_the_state_alone_stays_open(
    shell: Shell, sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the state lies among other things, its files are closed and the folder is left to whoever uses it."""
    monkeypatch.setenv("RECONCILER_STATE_DIR", ".")
    shell.write("dance.yaml")
    shell.root.chmod(0o755)
    assert shell("apply", "--yes")[0] == 0
    assert stat.S_IMODE(shell.root.stat().st_mode) == 0o755
    assert stat.S_IMODE((shell.root / "objects").stat().st_mode) == 0o700
    assert stat.S_IMODE((shell.root / "reconciler.db").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("mode", "is_well"), [(0o644, False), (0o640, False), (0o604, False), (0o600, True)]
)
def test_doctor_speaks_of_keys_that_others_can_read(shell: Shell, mode: int, is_well: bool) -> None:
    """It names the file, its mode and the command that mends it, and shows no value."""
    secrets = shell.root / ".env"
    secrets.write_text("KLING_API_KEY=very-secret\n")
    secrets.chmod(mode)
    out = shell("doctor", "--quick")[1]
    assert ("chmod 600 .env" in out) is not is_well
    assert (f"mode {mode:04o}" in out) is not is_well
    assert "very-secret" not in out


def test_doctor_speaks_of_the_operators_file_where_keys_stand_in_it(
    shell: Shell, tmp_path: Path
) -> None:
    """One without a secret may be read by everybody."""
    chosen = tmp_path / "operator.toml"
    for text, is_well in (("poll_interval = 5\n", True), ('kling_api_key = "secret"\n', False)):
        chosen.write_text(text)
        chosen.chmod(0o644)
        out = shell("--config", str(chosen), "doctor", "--quick")[1]
        assert (f"chmod 600 {chosen}" in out.replace("\n", "")) is not is_well, out
