"""A file that is overwritten in place, and keeps its inode, its size and its mtime: no memory of the old one is believed."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from reconciler.core.motion_control import UNITS_PER_SECOND
from reconciler.workspace.files.outputs import Signature, publish
from reconciler.workspace.index.spec_index import SpecIndex

from .builders import Project


def cp_p(target: Path, data: bytes) -> None:
    """`cp -p`: written into the file that is there, with the time of another."""
    other = target.with_name("other.tmp")
    other.write_bytes(data)
    os.utime(other, ns=(0, target.stat().st_mtime_ns))
    subprocess.run(["cp", "-p", other, target], check=True)
    other.unlink()


def touch_d(target: Path, data: bytes) -> None:
    """Written by a program, then `touch -d`, which can only say what a clock shows."""
    when = target.stat().st_mtime
    assert when == int(when)
    target.write_bytes(data)
    subprocess.run(["touch", "-d", f"@{int(when)}", target], check=True)


def inplace(target: Path, data: bytes) -> None:
    """`rsync -t --inplace`: block by block into the file, then its time."""
    when = target.stat()
    with target.open("r+b") as file:
        file.write(data)
    os.utime(target, ns=(when.st_atime_ns, when.st_mtime_ns))


OVERWRITES = [cp_p, touch_d, inplace]


def picture(path: Path, shade: int) -> bytes:
    """Return an image whose size in bytes does not depend on what it shows."""
    Image.new("L", (600, 600), shade).save(path, "PNG", compress_level=0)
    data = path.read_bytes()
    path.unlink()
    return data


def overwrite(how: Callable[[Path, bytes], None], path: Path, data: bytes) -> None:
    """Overwrite a file, and see that nothing but its ctime tells."""
    before = path.stat()
    how(path, data)
    after = path.stat()
    same = ("st_ino", "st_size", "st_mtime_ns")
    assert [getattr(before, name) for name in same] == [getattr(after, name) for name in same]
    assert path.read_bytes() == data


@pytest.fixture
def painted(project: Project) -> Project:
    """A project with a spec, its defaults and an image that can be overwritten, all of them remembered."""
    project.write("assets/girl.png", picture(project.root / "draft", 1))
    project.write("specs/_defaults.yaml", "prompt: jumps\n")
    project.write("specs/a.yaml")
    assert len(project.load(cached=True).generations) == 1
    assert project.cache.specs() == ["specs/a.yaml"]
    return project


def change_image(project: Project, how: Callable[[Path, bytes], None]) -> None:
    data = picture(project.root / "draft", 2)
    overwrite(how, project.root / "assets/girl.png", data)


def change_spec(project: Project, how: Callable[[Path, bytes], None]) -> None:
    path = project.root / "specs/a.yaml"
    overwrite(how, path, path.read_bytes().replace(b"pro", b"std"))


def change_defaults(project: Project, how: Callable[[Path, bytes], None]) -> None:
    overwrite(how, project.root / "specs/_defaults.yaml", b"prompt: waves\n")


CHANGES = [change_image, change_spec, change_defaults]


@pytest.mark.parametrize("how", OVERWRITES)
@pytest.mark.parametrize("change", CHANGES)
def test_the_cache_is_not_believed(
    painted: Project, change: Callable[..., None], how: Callable[[Path, bytes], None]
) -> None:
    """What is bought next is what the file holds now."""
    before = painted.load(cached=True)
    change(painted, how)
    now = painted.load(cached=True)
    assert now == painted.load()
    assert now.generations[0].external_task_id != before.generations[0].external_task_id


@pytest.mark.parametrize("how", OVERWRITES)
@pytest.mark.parametrize("change", CHANGES)
def test_the_index_notices_without_an_event(
    painted: Project, change: Callable[..., None], how: Callable[[Path, bytes], None]
) -> None:
    """A periodic look names the file, the spec does not count as it was read, and a refresh reads it."""
    index = SpecIndex(painted.root, "specs", prices=UNITS_PER_SECOND)
    assert index.is_as_read("specs/a.yaml")
    assert not index.snapshot().strays()
    change(painted, how)
    assert not index.is_as_read("specs/a.yaml")
    assert index.snapshot().strays()
    index.refresh(index.snapshot().strays())
    assert index.desired() == painted.load()


def test_a_cache_of_an_older_program_costs_time_only(painted: Project) -> None:
    """Rows that know no ctime are as good as none."""
    expected = painted.load()
    old = {}
    for name, (key, payload) in painted.cache.rows.items():
        old[name] = ("4" + key[1:], payload)
    painted.cache.rows = old
    assert painted.load(cached=True) == expected


def test_a_file_read_within_the_tick_of_its_change_is_not_remembered(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever its mtime says, it could change again and keep all its times: its ctime is of now."""
    monkeypatch.setattr(time, "time_ns", lambda: (project.root / "specs/a.yaml").stat().st_ctime_ns)
    project.write("specs/a.yaml")
    assert project.load(cached=True).generations
    assert not project.cache.specs()
    index = SpecIndex(project.root, "specs", prices=UNITS_PER_SECOND)
    assert "specs/a.yaml" in index.snapshot().strays()


def test_a_published_file_is_known_by_what_it_is_called_in_the_end(tmp_path: Path) -> None:
    """Its new name, and the old one that goes, change its ctime: the signature is of afterwards."""
    source, target = tmp_path / "object", tmp_path / "dance.mp4"
    source.write_bytes(b"film")
    for replace in (False, True):
        assert publish(source, target, replace=replace) == Signature.of(target.lstat())
