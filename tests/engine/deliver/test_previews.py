"""Previews beside what was bought: they come with it, and whatever becomes of them changes nothing about it."""

from __future__ import annotations

import io
import json
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from reconciler.core.diff import Action, Assessment
from reconciler.core.errors import StateError
from reconciler.core.orders import Verb
from reconciler.core.progress import Ended
from reconciler.core.states import Role, Status
from reconciler.engine.deliver import download
from reconciler.store.objects import Partial
from reconciler.workspace.media.result_media import make_preview
from tests.engine.orders.test_orders import give
from tests.engine.world import World, world
from tests.support.simulator import Simulator, simulator
from tests.workspace.spoiled import with_noise

POSTER, SHEET, VIDEO, RECEIPT = (
    f"specs/dance.{ending}" for ending in ("poster.webp", "sheet.webp", "mp4", "receipt.json")
)


@pytest.fixture
def sim(tmp_path: Path) -> Iterator[Simulator]:
    """A simulator whose films show the picture that they are made of."""
    with simulator(tmp_path / "simulator", render="draft") as running:
        yield running


@pytest.fixture
def project(project: World) -> World:
    """A project that wants posters."""
    project.previews = frozenset({Role.POSTER})
    return project


@pytest.fixture
def bought(project: World) -> World:
    """A generation that is complete, with its poster."""
    project.write("dance.yaml")
    assert project.apply() is Ended.SETTLED
    assert_complete(project)
    return project


def assert_complete(project: World, action: Action = Action.KEEP) -> Assessment:
    item = project.only()
    assert (item.action, item.status) == (action, Status.COMPLETE), item.reason
    return item


def standing(project: World) -> dict[str, tuple[bytes, int]]:
    """The bytes and the mtime of every file beside the specs."""
    files = sorted((project.root / "specs").iterdir())
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def entry(project: World) -> dict[str, Any]:
    (only,) = json.loads((project.root / RECEIPT).read_text())["generations"]
    assert isinstance(only, dict)
    return only


def objects(project: World) -> list[Path]:
    return [path for path in (project.root / "state/objects").rglob("*") if path.is_file()]


def test_a_video_comes_with_its_poster_and_both_are_in_the_receipt(bought: World) -> None:
    """With their sides; the poster apart from what was bought. A second run leaves every byte and every time."""
    item, poster = bought.only(), (bought.root / POSTER).read_bytes()
    assert [(path, made.role) for path, made in item.shown] == [(POSTER, Role.POSTER)]
    assert [path for path, _ in item.published] == [VIDEO]
    listed = entry(bought)
    (output,), (preview,) = listed["outputs"], listed["previews"]
    with Image.open(io.BytesIO(poster)) as image:
        assert (preview["width"], preview["height"]) == image.size
    assert (output["role"], output["width"] > 0, output["height"] > 0) == ("video", True, True)
    assert (preview["role"], preview["path"]) == ("poster", "dance.poster.webp")
    assert preview["bytes"] == len(poster)
    before = standing(bought)
    assert bought.apply() is Ended.SETTLED
    assert standing(bought) == before


def test_a_contact_sheet_is_made_where_it_is_asked_for(project: World) -> None:
    """Each take gets both pictures beside it, and the receipt lists them."""
    project.previews = frozenset({Role.POSTER, Role.SHEET})
    spec = project.write("dance.yaml")
    spec.write_text(f"takes: 2\n{spec.read_text()}")
    project.apply()
    names = {path.name for path in (project.root / "specs").glob("*.webp")}
    assert names == {f"dance.{take}.{kind}.webp" for take in "12" for kind in ("poster", "sheet")}
    listed = json.loads((project.root / RECEIPT).read_text())["generations"]
    assert [[one["role"] for one in row["previews"]] for row in listed] == [["poster", "sheet"]] * 2


def test_without_the_setting_there_is_nothing(project: World) -> None:
    """With previews off, neither disk, objects nor receipt hold one."""
    project.previews = frozenset()
    project.write("dance.yaml")
    project.apply()
    assert_complete(project)
    assert "previews" not in entry(project)
    assert len(objects(project)) == 1
    assert sorted(standing(project)) == ["dance.mp4", "dance.receipt.json", "dance.yaml"]


def test_a_poster_that_was_deleted_is_put_back_without_a_request(
    bought: World, sim: Simulator
) -> None:
    """A lost poster comes from the object store with the same bytes; the provider is not asked."""
    before, asked = standing(bought), sim.requests()
    (bought.root / POSTER).unlink()
    assert_complete(bought, Action.PUBLISH)
    bought.apply()
    assert_complete(bought)
    assert {name: data for name, (data, _) in standing(bought).items()} == {
        name: data for name, (data, _) in before.items()
    }
    assert standing(bought)["dance.receipt.json"] == before["dance.receipt.json"]
    assert sim.requests() == asked


def test_a_poster_that_was_deleted_stays_away_where_none_is_wanted_any_more(bought: World) -> None:
    """Switching previews off and deleting them is final."""
    (bought.root / POSTER).unlink()
    bought.previews = frozenset()
    assert_complete(bought)
    bought.apply()
    assert not (bought.root / POSTER).exists()


def test_a_poster_that_is_nowhere_is_not_missed(bought: World, sim: Simulator) -> None:
    """Neither the file nor the object: complete, nothing to do, no request, the receipt as it was."""
    (bought.root / POSTER).unlink()
    for path in objects(bought):
        if path.stat().st_size == entry(bought)["previews"][0]["bytes"]:
            path.unlink()
    before, asked = standing(bought), sim.requests()
    assert not bought.plan().changes
    assert_complete(bought)
    assert bought.apply() is Ended.SETTLED
    assert (standing(bought), sim.requests()) == (before, asked)


def test_a_poster_whose_object_rotted_is_not_put_back(bought: World) -> None:
    """Damaged bytes are not published, and a missing poster alone plans no work."""
    (bought.root / POSTER).unlink()
    for path in objects(bought):
        path.chmod(0o644)
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert_complete(bought)
    assert not bought.plan().changes


@pytest.mark.parametrize("has_poster", [True, False])
def test_a_clone_is_complete_with_and_without_the_poster(
    bought: World, sim: Simulator, has_poster: bool
) -> None:
    """Receipt and video are there, the state is new: no request, no change."""
    if not has_poster:
        (bought.root / POSTER).unlink()
    bought.lose_state()
    before, asked = standing(bought), sim.requests()
    assert_complete(bought)
    bought.apply()
    assert (standing(bought), sim.requests()) == (before, asked)
    assert len(assert_complete(bought).shown) == has_poster


def test_a_clone_without_files_gets_both_again_and_the_receipt_stays(
    bought: World, sim: Simulator
) -> None:
    """A clone gets video and poster back without a second purchase and without a change to commit."""
    (bought.root / POSTER).unlink()
    (bought.root / VIDEO).unlink()
    before = standing(bought)
    bought.lose_state()
    bought.apply()
    assert_complete(bought)
    assert (bought.root / POSTER).exists()
    assert standing(bought)["dance.receipt.json"] == before["dance.receipt.json"]
    assert list(sim.billed().values()) == [1]


def test_a_committed_poster_of_another_machine_stays_when_the_video_is_fetched_again(
    bought: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Videos are not in git, posters are: a clone whose library gives other bytes changes neither file nor receipt."""
    (bought.root / VIDEO).unlink()
    before = standing(bought)
    bought.lose_state()

    def other(path: Path, role: Role) -> object:
        return make_preview(path, Role.SHEET)

    monkeypatch.setattr(download, "make_preview", other)
    bought.apply()
    assert_complete(bought)
    after = standing(bought)
    del after["dance.mp4"]
    assert after == before


def test_what_was_bought_without_a_poster_stays_as_it_is(project: World) -> None:
    """A receipt of an older program, its state and a clone of it: not a byte changes once posters are made."""
    project.previews = frozenset()
    project.write("dance.yaml")
    project.apply()
    text = (project.root / RECEIPT).read_text()
    document = json.loads(text)
    for output in document["generations"][0]["outputs"]:
        del output["width"], output["height"]
    (project.root / RECEIPT).write_text(
        json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    )
    before = standing(project)
    project.previews = frozenset({Role.POSTER, Role.SHEET})
    for _ in range(2):
        assert_complete(project)
        project.apply()
        assert standing(project) == before
        project.lose_state()


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_foreign_file_in_the_posters_place_stays_and_means_no_poster(
    project: World, when: str
) -> None:
    """Put there before the purchase, or over the poster after it: complete, untouched, one sentence."""
    project.write("dance.yaml")
    if when == "after":
        project.apply()
    (project.root / POSTER).write_bytes(b"mine")
    assert project.apply() is Ended.SETTLED
    assert_complete(project)
    assert (project.root / POSTER).read_bytes() == b"mine"
    (sentence,) = [said for said in project.told.said if "poster" in said]
    assert f"`{POSTER}` holds a file that is not ours" in sentence
    assert (project.told.holds, project.repository.holds()) == ({}, {})
    assert entry(project)["outputs"][0]["path"] == "dance.mp4"


@pytest.mark.parametrize("kind", ["folder", "link", "fifo"])
def test_whatever_else_stands_in_the_posters_place_is_left_alone(project: World, kind: str) -> None:
    """A poster never replaces what is not one, and the video is delivered all the same."""
    project.write("dance.yaml")
    place, outside = project.root / POSTER, project.root / "outside"
    outside.write_bytes(b"mine")
    match kind:
        case "folder":
            place.mkdir()
        case "link":
            place.symlink_to(outside)
        case _:
            os.mkfifo(place)
    assert project.apply() is Ended.SETTLED
    assert_complete(project)
    assert outside.read_bytes() == b"mine"
    assert not place.is_file() or place.is_symlink()
    assert project.told.holds == {}


def test_a_film_that_does_not_decode_is_complete_without_a_poster(
    bought: World, sim: Simulator
) -> None:
    """The provider gives bytes that no decoder here takes: they are saved, published and in the receipt."""
    for path in (bought.root / POSTER, bought.root / VIDEO, bought.root / RECEIPT):
        path.unlink()
    bought.lose_state()
    (film,) = (sim.config.folder / "films").glob("*.mp4")
    film.write_bytes(with_noise(film.read_bytes()))
    bought.told.said.clear()
    assert bought.apply() is Ended.SETTLED
    assert_complete(bought)
    assert (bought.root / VIDEO).read_bytes() == film.read_bytes()
    assert "previews" not in entry(bought)
    assert [said for said in bought.told.said if "no poster of it" in said]
    assert list(sim.billed().values()) == [1]


@pytest.mark.parametrize("trouble", [StateError("No room."), OSError(28, "No space left")])
def test_a_disk_that_refuses_the_poster_costs_only_the_poster(
    project: World, monkeypatch: pytest.MonkeyPatch, trouble: Exception
) -> None:
    """Without room for a poster the video is complete, and the reason is said."""

    def refuse(self: Partial, chunk: bytes) -> None:
        if chunk.startswith(b"RIFF"):
            raise trouble
        write(self, chunk)

    write = Partial.write
    monkeypatch.setattr(Partial, "write", refuse)
    project.write("dance.yaml")
    assert project.apply() is Ended.SETTLED
    assert_complete(project)
    assert not (project.root / POSTER).exists()
    assert [said for said in project.told.said if "no poster of it: No" in said]


def test_another_result_brings_another_poster_and_the_old_one_is_kept(bought: World) -> None:
    """As with videos: what is replaced stays in the object store, and going back costs nothing."""
    first = (bought.root / POSTER).read_bytes()
    bought.write("dance.yaml", prompt="jumps", image="boy")
    bought.apply()
    second = (bought.root / POSTER).read_bytes()
    assert first != second
    assert first in [path.read_bytes() for path in objects(bought)]
    bought.write("dance.yaml")
    bought.apply()
    assert (bought.root / POSTER).read_bytes() == first


def test_a_poster_of_what_was_replaced_is_an_orphan_where_there_is_no_new_one(
    bought: World,
) -> None:
    """An old poster is offered for removal once the new video stands there, and not before."""
    bought.previews = frozenset()
    bought.write("dance.yaml", prompt="jumps")
    assert bought.plan().orphans == ()  # until the new video is there, nothing is out of place
    bought.apply()
    assert bought.plan().orphans == (POSTER,)


def test_prune_removes_posters_too_and_keeps_their_bytes(bought: World) -> None:
    """After a prune only the receipt stays beside the specs, and the bytes stay in the object store."""
    poster = (bought.root / POSTER).read_bytes()
    (bought.root / "specs/dance.yaml").unlink()
    assert bought.plan().orphans == (VIDEO, POSTER)
    for path in bought.plan().orphans:
        assert give(bought, Verb.PRUNE, path).ok
    assert sorted(standing(bought)) == ["dance.receipt.json"]
    assert poster in [path.read_bytes() for path in objects(bought)]


def test_a_renamed_spec_takes_its_poster_along(bought: World, sim: Simulator) -> None:
    """Renaming a spec gives video and poster the new name without a request."""
    poster, asked = (bought.root / POSTER).read_bytes(), sim.requests()
    (bought.root / "specs/dance.yaml").rename(bought.root / "specs/waltz.yaml")
    bought.apply()
    assert (bought.root / "specs/waltz.poster.webp").read_bytes() == poster
    assert (assert_complete(bought).generation.spec, sim.requests()) == ("specs/waltz.yaml", asked)


def test_a_record_that_lost_its_video_is_not_kept_alive_by_its_poster(bought: World) -> None:
    """The poster's row alone, of a damaged state, says nothing about what was bought."""
    bought.repository.close()
    connection = sqlite3.connect(bought.root / "state/reconciler.db")
    with connection:
        connection.execute("DELETE FROM result WHERE role = 'video'")
    connection.close()
    (bought.root / VIDEO).unlink()
    (bought.root / RECEIPT).unlink()
    bought.repository = type(bought.repository).open(bought.root / "state/reconciler.db")
    assert bought.only().action is Action.DOWNLOAD
    bought.apply()
    assert_complete(bought)
    assert (bought.root / VIDEO).exists()


def test_a_clean_checkout_stays_clean(bought: World) -> None:
    """A run over what was committed, posters included, leaves `git status` with nothing to say."""
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.com", "-C", str(bought.root)]
    (bought.root / ".gitignore").write_text("state/\n")
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "bought"]):
        subprocess.run([*git, *command], check=True)
    bought.lose_state()
    bought.apply()
    found = subprocess.run([*git, "status", "--porcelain"], check=True, capture_output=True)
    assert found.stdout == b""


@pytest.fixture
def watermarked(tmp_path: Path) -> Iterator[World]:
    with simulator(tmp_path / "sim") as sim:
        root = tmp_path / "marked"
        root.mkdir()
        with world(root, sim) as opened:
            yield opened


def test_a_poster_is_of_the_video_without_the_watermark(watermarked: World) -> None:
    """Where both copies are fetched, the picture is of the clean one."""
    watermarked.previews = frozenset({Role.POSTER})
    spec = watermarked.write("dance.yaml")
    spec.write_text(spec.read_text() + "watermark_info: {enabled: true}\n")
    watermarked.apply()
    expected = make_preview(watermarked.root / VIDEO, Role.POSTER).data
    assert (watermarked.root / POSTER).read_bytes() == expected
    assert [path for path, _ in watermarked.only().published] == [
        VIDEO,
        "specs/dance.watermark.mp4",
    ]
