"""What a change of the folder buys, as the contract says it: a table with a reason for every row."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.support.money import assert_bought_once, assert_quiet, purchases
from tests.support.project import IMAGE, VIDEO, Project, picture, spec_text
from tests.support.simulator import Simulator

TOML = f"""
# the same wish, in TOML
prompt = "a dance"
mode = "std"
character_orientation = "image"
video_url = "{VIDEO}"
image_url = "girl.png"
"""
RENAMED = "specs/girl.png"


def edit_prompt(project: Project) -> None:
    project.spec(image_url="girl.png", prompt="another dance")


def edit_and_revert(project: Project) -> None:
    edit_prompt(project)
    assert project.apply().code == 0
    project.spec(image_url="girl.png")


def rename(project: Project) -> None:
    (project.specs / "dance.yaml").rename(project.specs / "walk.yaml")


def move(project: Project) -> None:
    (project.specs / "deep").mkdir()
    for name in ("dance.yaml", "girl.png"):
        (project.specs / name).rename(project.specs / "deep" / name)


def move_with_its_files(project: Project) -> None:
    shutil.copytree(project.specs, project.root / "all")
    shutil.rmtree(project.specs)
    shutil.copytree(project.root / "all", project.specs / "deep")
    shutil.rmtree(project.root / "all")


def reformat(project: Project) -> None:
    text = spec_text(image_url="girl.png")
    lines = [f"{line}   # said again" for line in reversed(text.splitlines())]
    project.write("specs/dance.yaml", "# reordered\n\n" + "\n".join(lines) + "\n\n")


def to_json(project: Project) -> None:
    (project.specs / "dance.yaml").unlink()
    wish = {
        "video_url": VIDEO,
        "image_url": "girl.png",
        "mode": "std",
        "character_orientation": "image",
        "prompt": "a dance",
    }
    project.write("specs/dance.json", json.dumps(wish))


def to_toml(project: Project) -> None:
    (project.specs / "dance.yaml").unlink()
    project.write("specs/dance.toml", TOML)


def spell_out_defaults(project: Project) -> None:
    project.spec(
        image_url="girl.png",
        prompt="  a dance ",
        kind="motion-control",
        model_name="kling-v2-6",
        keep_original_sound=True,
        watermark_info={"enabled": False},
        element_list=[],
        takes=1,
    )


def defaults_file(project: Project) -> None:
    project.write("specs/_defaults.yaml", "mode: std\ncharacter_orientation: image\n")
    project.spec(image_url="girl.png", mode=None, character_orientation=None)


def callback(project: Project) -> None:
    project.spec(image_url="girl.png", callback_url="https://example.com/hook")


def second_spec(project: Project) -> None:
    project.spec("twin.yaml", image_url="girl.png")


def same_image_elsewhere(project: Project) -> None:
    (project.specs / "girl.png").rename(project.specs / "renamed.png")
    project.spec(image_url="renamed.png")


def touch_image(project: Project) -> None:
    path = project.specs / "girl.png"
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data)


def change_image(project: Project) -> None:
    picture(project.specs / "girl.png", "tomato")


def image_by_url(project: Project) -> None:
    project.spec(image_url=IMAGE)


def change_mode(project: Project) -> None:
    project.spec(image_url="girl.png", mode="pro")


def one_more_take(project: Project) -> None:
    project.spec(image_url="girl.png", takes=2)


def matrix_around_it(project: Project) -> None:
    project.spec(image_url="girl.png", mode=None, matrix={"mode": ["std", "pro"]})


def remove(project: Project) -> None:
    (project.specs / "dance.yaml").unlink()


@dataclass(frozen=True)
class Row:
    """A change, how many purchases it means, and why."""

    change: Callable[[Project], None]
    bought: int
    reason: str


ROWS = [
    Row(edit_prompt, 1, "another prompt is another generation"),
    Row(edit_and_revert, 1, "only the edit in between; the old one is still ours"),
    Row(rename, 0, "the spec's name is not in the identity"),
    Row(move, 0, "the spec's folder is not in the identity"),
    Row(move_with_its_files, 0, "receipt and video moved along, and are still ours"),
    Row(reformat, 0, "comments, order and white space are not in the identity"),
    Row(to_json, 0, "the format is not in the identity"),
    Row(to_toml, 0, "the format is not in the identity"),
    Row(spell_out_defaults, 0, "a default that is written out is the same request"),
    Row(defaults_file, 0, "where a value is written does not matter"),
    Row(callback, 0, "callback_url is not in the identity"),
    Row(second_spec, 0, "the same wish twice is one purchase and two files"),
    Row(same_image_elsewhere, 0, "an image counts by its bytes, not its name"),
    Row(touch_image, 0, "an image counts by its bytes, not its time"),
    Row(change_image, 1, "other bytes are another generation"),
    Row(image_by_url, 1, "a URL stands as written, it is not the file"),
    Row(change_mode, 1, "another mode is another generation"),
    Row(one_more_take, 1, "take 1 is ours already, take 2 is new"),
    Row(matrix_around_it, 1, "std is ours already, pro is new"),
    Row(remove, 0, "a wish that is gone buys nothing"),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.change.__name__)
def test_a_change_buys_what_the_contract_says(project: Project, sim: Simulator, row: Row) -> None:
    """After the first purchase and a change, exactly the purchases of the table are made, each billed once."""
    change_and_count(project, sim, row, lost=False)
    assert_quiet(project, sim)


@pytest.mark.parametrize(
    "row",
    [
        row
        for row in ROWS
        if row.change in {rename, move, move_with_its_files, one_more_take, remove}
    ],
    ids=lambda row: row.change.__name__,
)
def test_a_change_buys_no_more_when_the_state_is_lost_too(
    project: Project, sim: Simulator, row: Row
) -> None:
    """Without the state folder the receipts and the provider know as much."""
    change_and_count(project, sim, row, lost=True)


def change_and_count(project: Project, sim: Simulator, row: Row, *, lost: bool) -> None:
    """Buy, change, apply again, and count what was billed."""
    picture(project.specs / "girl.png")
    project.spec(image_url="girl.png")
    assert_bought_once(project, sim, project.apply())
    row.change(project)
    if lost:
        project.lose("state")
    done = project.apply()
    if row.change is remove:
        assert done.code == 0, done
        assert (project.specs / "dance.mp4").exists()
    else:
        assert_bought_once(project, sim, done)
    assert len(purchases(sim)) == 1 + row.bought, row.reason
    assert set(purchases(sim).values()) == {1}


def test_checking_out_an_old_commit_gives_the_old_video_back(
    project: Project, sim: Simulator
) -> None:
    """Two commits, then `git checkout` of the first: the first video, byte for byte, free, and git stays clean."""
    project.spec()
    assert project.apply().code == 0
    project.commit(ignore="state/\n*.mp4\n")
    old = project.videos()
    project.spec(prompt="another")
    assert project.apply().code == 0
    project.commit(ignore="state/\n*.mp4\n")
    assert project.videos() != old
    project.git("checkout", "--quiet", "HEAD~1")
    asked = sim.requests()
    assert_bought_once(project, sim, project.apply())
    assert project.videos() == old
    assert project.git("status", "--porcelain") == ""
    assert sim.requests() == asked
