"""Results land whole, durably, and never over something that is not ours."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from reconciler.core.errors import WorkspaceError
from reconciler.workspace.files import outputs
from reconciler.workspace.files.outputs import OutputTaken, Signature, publish, signature
from reconciler.workspace.files.plain import describe_os_error, temporary_beside


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "object"
    path.write_bytes(b"new" * 1000)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "specs"
    path.mkdir()
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("replace", [False, True])
def test_a_result_lands_and_leaves_nothing_beside_it(
    source: Path, folder: Path, replace: bool
) -> None:
    """A published file is a whole copy with the object's permissions, and no temporary file stays."""
    target = folder / "dance.mp4"
    assert publish(source, target, replace=replace) == signature(target)
    assert target.read_bytes() == source.read_bytes()
    assert names(folder) == ["dance.mp4"]
    assert target.stat().st_nlink == 1
    assert target.stat().st_mode & 0o777 == source.stat().st_mode & 0o777


def test_what_stands_there_stays_unless_replacing_is_asked_for(source: Path, folder: Path) -> None:
    """A file of somebody else at the output's name survives until a person allows its replacement."""
    target = folder / "dance.mp4"
    target.write_bytes(b"theirs")
    with pytest.raises(OutputTaken, match="not ours"):
        publish(source, target, replace=False)
    assert target.read_bytes() == b"theirs"
    publish(source, target, replace=True)
    assert target.read_bytes() == source.read_bytes()
    assert names(folder) == ["dance.mp4"]


def test_what_appears_while_we_copy_stays(
    source: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that appears at the last moment is not overwritten."""
    target, copy = folder / "dance.mp4", outputs._copy

    def intrude(*arguments: object) -> None:
        copy(*arguments)  # type: ignore[arg-type]
        target.write_bytes(b"theirs")

    monkeypatch.setattr(outputs, "_copy", intrude)
    with pytest.raises(OutputTaken):
        publish(source, target, replace=False)
    assert target.read_bytes() == b"theirs"
    assert names(folder) == ["dance.mp4"]


@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize("left", [None, b"theirs"], ids=["removed", "replaced"])
def test_what_is_done_to_the_name_a_moment_later_is_neither_an_error_nor_ours(
    source: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    replace: bool,
    left: bytes | None,
) -> None:
    """The signature is that of the file that was put there, and not of what somebody made of its name."""
    target, put = folder / "dance.mp4", []

    def intrude(_: Path) -> None:
        put.append(signature(target))
        target.unlink()
        if left is not None:
            target.with_name("new").write_bytes(left)
            target.with_name("new").rename(target)

    monkeypatch.setattr(outputs, "sync_folder", intrude)
    assert [publish(source, target, replace=replace)] == put
    assert signature(target) != put[0]


@pytest.mark.parametrize("replace", [False, True])
def test_nothing_is_written_through_a_link_or_over_a_folder(
    source: Path, folder: Path, tmp_path: Path, replace: bool
) -> None:
    """No link leads a result out of its folder, even where replacing is allowed."""
    (tmp_path / "precious").write_bytes(b"theirs")
    (folder / "link.mp4").symlink_to(tmp_path / "precious")
    (folder / "dangling.mp4").symlink_to(tmp_path / "nowhere")
    (folder / "folder.mp4").mkdir()
    for name in ("link.mp4", "dangling.mp4", "folder.mp4"):
        with pytest.raises(OutputTaken):
            publish(source, folder / name, replace=replace)
    assert (tmp_path / "precious").read_bytes() == b"theirs"
    assert not (tmp_path / "nowhere").exists()
    assert names(folder) == ["dangling.mp4", "folder.mp4", "link.mp4"]


def test_what_a_crash_left_is_replaced_and_not_followed(
    source: Path, folder: Path, tmp_path: Path
) -> None:
    """The next run removes a temporary file of a dead one, also where it was made a trap."""
    target = folder / "dance.mp4"
    leftover = temporary_beside(target)
    assert leftover.name.startswith(".")
    assert leftover.suffix == ".part"
    leftover.symlink_to(tmp_path / "precious")
    publish(source, target, replace=False)
    assert not (tmp_path / "precious").exists()
    assert names(folder) == ["dance.mp4"]


def test_a_long_name_still_has_a_temporary_one(source: Path, folder: Path) -> None:
    """Names up to the file system's limit are published; beyond it a sentence says so."""
    publish(source, folder / ("x" * 251 + ".mp4"), replace=False)
    with pytest.raises(WorkspaceError, match="too long"):
        publish(source, folder / ("x" * 252 + ".mp4"), replace=False)


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP])
def test_a_file_system_without_hard_links_is_served_too(
    source: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """On a drive without hard links a result is published, and still nothing is overwritten."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuse)
    publish(source, folder / "dance.mp4", replace=False)
    assert (folder / "dance.mp4").read_bytes() == source.read_bytes()
    with pytest.raises(OutputTaken):
        publish(source, folder / "dance.mp4", replace=False)
    assert names(folder) == ["dance.mp4"]


def test_a_missing_folder_or_object_is_named(source: Path, folder: Path) -> None:
    """The error says which of the two paths is missing, and nothing is left behind."""
    with pytest.raises(WorkspaceError, match="none` cannot be used: it does not exist"):
        publish(source, folder / "none" / "dance.mp4", replace=False)
    with pytest.raises(WorkspaceError, match="gone` cannot be used: it does not exist"):
        publish(source.with_name("gone"), folder / "dance.mp4", replace=False)
    assert names(folder) == []


@pytest.mark.parametrize(
    ("number", "words", "hint"),
    [
        (errno.ENOSPC, "the disk is full", "Free some space"),
        (errno.EDQUOT, "quota", "Free some space"),
        (errno.EROFS, "read-only", "Mount it writable"),
        (errno.EACCES, "permission is denied", "access"),
        (errno.EBADF, os.strerror(errno.EBADF), ""),
    ],
)
def test_a_system_error_is_a_sentence_and_the_old_file_stays(
    source: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    words: str,
    hint: str,
) -> None:
    """A full or read-only disk is told with a way out, and what stood there before is whole."""
    target = folder / "dance.mp4"
    target.write_bytes(b"old")

    def refuse(_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(WorkspaceError, match=words) as caught:
        publish(source, target, replace=True)
    assert str(target) in caught.value.message
    assert hint in caught.value.hint
    assert target.read_bytes() == b"old"
    assert names(folder) == ["dance.mp4"]


def test_an_error_without_a_number_is_described_too() -> None:
    """Even an odd error of the system becomes a sentence with the file's name."""
    assert "cannot be used" in describe_os_error(OSError("odd"), "a.mp4").message


def test_a_signature_tells_files_folders_links_and_nothing_apart(folder: Path) -> None:
    """What stands at an output's path is judged by itself, never by what a link leads to."""
    (folder / "a").write_bytes(b"12345")
    (folder / "link").symlink_to("a")
    found = signature(folder / "a")
    assert found == Signature.of((folder / "a").stat())
    assert found is not None
    assert found.is_file
    for name in ("link", "."):
        other = signature(folder / name)
        assert other is not None
        assert not other.is_file
    assert signature(folder / "none") is None
    assert signature(folder / "a" / "below a file") is None
