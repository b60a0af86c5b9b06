"""Git LFS pointers where results and receipts belong: ours and not fetched, or somebody's file like any other."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import pytest

from reconciler.core.diff import Action
from reconciler.core.progress import Ended
from reconciler.core.states import Role, Status
from reconciler.workspace.files.plain import pointed_to
from tests.engine.world import World
from tests.support.simulator import Simulator
from tests.workspace.spoiled import pointer

VIDEO, POSTER, RECEIPT = (f"specs/dance.{end}" for end in ("mp4", "poster.webp", "receipt.json"))


@pytest.fixture
def bought(project: World) -> World:
    """A generation that is complete, with its poster."""
    project.previews = frozenset({Role.POSTER})
    project.write("dance.yaml")
    assert project.apply() is Ended.SETTLED
    return project


def leave_pointers(project: World, *names: str) -> Mapping[str, bytes]:
    """What a clone without `git lfs pull` has in place of these files."""
    for name in names:
        path = project.root / name
        path.write_bytes(pointer(path.read_bytes()))
    return standing(project)


def standing(project: World) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (project.root / "specs").iterdir()}


@pytest.mark.parametrize("is_fresh", [False, True], ids=["the state is here", "a fresh clone"])
def test_a_pointer_to_the_result_is_ours_and_stays(
    bought: World, sim: Simulator, is_fresh: bool
) -> None:
    """It is complete without a request, though the object is here or could be fetched; nothing is written over it."""
    videos = (bought.root / VIDEO).read_bytes()
    before = leave_pointers(bought, VIDEO, POSTER)
    if is_fresh:
        bought.lose_state()
    asked = sim.requests()
    item = bought.only()
    assert (item.action, item.status, item.reason) == (Action.KEEP, Status.COMPLETE, "")
    assert [path for path, _ in item.published] == [VIDEO]
    assert bought.apply() is Ended.SETTLED
    assert (standing(bought), sim.requests()) == (before, asked)
    assert list(sim.billed().values()) == [1]
    (bought.root / VIDEO).write_bytes(videos)  # `git lfs pull`
    assert bought.only().action is Action.KEEP


def test_a_pointer_that_is_left_when_the_spec_goes_is_no_file_of_ours(bought: World) -> None:
    """`prune` removes only what is byte for byte a result."""
    leave_pointers(bought, VIDEO)
    (bought.root / "specs/dance.yaml").unlink()
    assert VIDEO not in bought.plan().orphans


def test_a_pointer_to_something_else_is_taken_like_any_other_file(
    bought: World, sim: Simulator
) -> None:
    """Another wish at the same place is not bought, and the sentence says what would free the place."""
    before = leave_pointers(bought, VIDEO)
    bought.write("dance.yaml", prompt="jumps")
    assert bought.apply() is Ended.SETTLED
    item = bought.only()
    assert item.status is Status.BLOCKED
    assert f"`{VIDEO}` is a Git LFS pointer: run `git lfs pull`, or move it away" in item.reason
    assert standing(bought)["dance.mp4"] == before["dance.mp4"]
    assert list(sim.billed().values()) == [1]


def test_nothing_is_bought_for_a_spec_while_its_receipt_is_a_pointer(
    bought: World, sim: Simulator
) -> None:
    """What it records cannot be known; after a pull nothing needs to be done. Other specs go on."""
    receipt = (bought.root / RECEIPT).read_bytes()
    leave_pointers(bought, RECEIPT)
    bought.lose_state()
    (bought.root / VIDEO).unlink()
    bought.write("dance.yaml", prompt="jumps")
    bought.write("other.yaml", prompt="sings")
    bought.apply()
    reasons = {item.generation.spec: item.reason for item in bought.plan().assessments}
    assert "the file is a Git LFS pointer: run `git lfs pull`" in reasons["specs/dance.yaml"]
    assert (reasons["specs/other.yaml"], list(sim.billed().values())) == ("", [1, 1])
    bought.write("dance.yaml")
    (bought.root / RECEIPT).write_bytes(receipt)
    assert bought.apply() is Ended.SETTLED
    assert sorted(sim.billed().values()) == [1, 1]


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("", True),
        ("ext-0-foo sha256:" + "1" * 64 + "\n", True),
        ("x" * 1024 + "\n", False),
        ("oid md5:1\n", False),
    ],
)
def test_what_a_pointer_looks_like(tmp_path: Path, text: str, is_one: bool) -> None:
    """As git-lfs writes them, extensions too; no larger than 1,024 bytes."""
    whole = pointer(b"video").decode().replace("oid", f"{text}oid", 1)
    path = tmp_path / "a"
    path.write_text(whole)
    assert pointed_to(path) == (hashlib.sha256(b"video").hexdigest() if is_one else "")
