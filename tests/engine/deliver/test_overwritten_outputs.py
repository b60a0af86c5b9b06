"""An output that somebody overwrites in place, with its size and its mtime: it is theirs, and is treated as theirs."""

from __future__ import annotations

import os
from pathlib import Path

from reconciler.core.states import Status
from reconciler.store.values import Publication
from tests.engine.world import World


def overwrite(path: Path) -> bytes:
    """Write other bytes into a file that keeps its inode, its size and its mtime."""
    before = path.stat()
    data = bytes(before.st_size)
    with path.open("r+b") as file:
        file.write(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_ino == before.st_ino
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    return data


def test_an_output_that_was_overwritten_in_place_is_somebodys(project: World) -> None:
    """The plan says so, and a new prompt does not write over it (rule 8)."""
    project.write("dance.yaml")
    project.apply()
    theirs = overwrite(project.root / "specs/dance.mp4")
    assert project.only().status is Status.BLOCKED
    project.write("dance.yaml", prompt="jumps")
    project.apply()
    assert project.only().status is Status.BLOCKED
    assert "not ours" in project.only().reason
    assert (project.root / "specs/dance.mp4").read_bytes() == theirs


def test_a_daemons_memory_of_what_it_read_does_not_outlive_the_file(project: World) -> None:
    """What was read by a plan, and not published here, is looked at again as well."""
    project.write("dance.yaml")
    project.apply()
    project.lose_state()
    locations = project.survey().locations
    path = project.root / "specs/dance.mp4"
    before = locations.digest("specs/dance.mp4")
    overwrite(path)
    assert locations.digest("specs/dance.mp4") != before


def test_outputs_of_an_older_program_are_read_once_and_are_still_ours(project: World) -> None:
    """A state that does not know when an output was last changed: the bytes tell, and then it does."""
    project.write("dance.yaml")
    project.apply()
    (row,) = project.repository.publications().values()
    old = Publication(
        row.path, row.external_task_id, row.role, row.sha256, *(row.size, row.mtime_ns, row.inode)
    )
    project.repository.publish([old])
    assert project.only().status is Status.COMPLETE
    project.apply()
    assert project.repository.publications() == {row.path: row}


def test_a_link_to_an_output_costs_reading_it_and_nothing_else(project: World) -> None:
    """Its ctime is another, its bytes are not: complete, nothing is fetched, nothing is billed again."""
    project.write("dance.yaml")
    project.apply()
    os.link(project.root / "specs/dance.mp4", project.root / "kept.mp4")
    (project.root / "specs/dance.mp4").chmod(0o600)
    assert project.only().status is Status.COMPLETE
    project.apply()
    assert project.only().status is Status.COMPLETE
    assert len(project.repository.records()) == 1


def test_bytes_that_are_replaced_are_read_before_they_are_believed_to_be_kept(
    project: World,
) -> None:
    """Whatever is remembered of a file, what stands there now goes to the object store before it is replaced."""
    project.write("dance.yaml")
    project.apply()
    path = project.root / "specs/dance.mp4"
    theirs = overwrite(path)
    found = path.stat()
    (row,) = project.repository.publications().values()
    stood = (found.st_size, found.st_mtime_ns, found.st_ino, found.st_ctime_ns)
    project.repository.publish(  # a file system that tells nothing
        [Publication(row.path, row.external_task_id, row.role, row.sha256, *stood)]
    )
    project.write("dance.yaml", prompt="jumps")
    project.apply()
    kept = [
        path.read_bytes() for path in (project.root / "state/objects").rglob("*") if path.is_file()
    ]
    assert path.read_bytes() == theirs or theirs in kept
