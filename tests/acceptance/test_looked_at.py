"""What is said of a result when it has come: its length beside the reference's, once, where `show` finds it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.project import Project, picture

FILM = Path(__file__).parents[1] / "media" / "bigbuckbunny.mp4"
REMARK = (
    "the result lasts 3.0 s, the reference 5.3 s; "
    "the provider shortens fast or complex motion and does not refund it"
)


@pytest.fixture
def local(project: Project) -> Project:
    """A project whose motion is a local file, so that its length is known."""
    picture(project.root / "assets/girl.png")
    shutil.copy(FILM, project.root / "assets/dance.mp4")
    return project


def history(project: Project) -> list[str]:
    (generation,) = project.run("show", "specs/a.yaml", "--json").document["generations"]
    return [entry["detail"] for entry in generation["history"]]


def standing(project: Project) -> dict[str, tuple[bytes, int]]:
    files = (path for path in project.specs.iterdir() if path.is_file())
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def test_a_result_that_is_shorter_than_its_reference_is_said_once(local: Project) -> None:
    """The sentence is in the log and in the history, nothing volatile gets into the receipt, and no run repeats it."""
    local.spec(
        "a.yaml",
        image_url="../assets/girl.png",
        video_url="../assets/dance.mp4",
        prompt="a wild dance [[short: 3]]",
    )
    first = local.apply()
    assert first.code == 0, first
    assert first.err.count(REMARK) == 1
    said = history(local)
    assert said.count(f"complete: {REMARK}") == 1
    assert any(line.startswith("succeeded: video: 3") and " px" in line for line in said)
    (entry,) = local.receipts()["specs/a.receipt.json"]
    assert entry["outputs"][0]["duration"] == pytest.approx(3.0, abs=0.05)
    before = standing(local)
    second = local.apply()
    assert REMARK not in second.err
    assert standing(local) == before
    assert history(local) == said


def test_a_result_as_long_as_its_reference_needs_no_remark(local: Project) -> None:
    """Nothing is said when there is nothing to say."""
    local.spec("a.yaml", image_url="../assets/girl.png", video_url="../assets/dance.mp4")
    done = local.apply()
    assert done.code == 0, done
    assert "refund" not in done.err
    assert not any("refund" in line for line in history(local))
