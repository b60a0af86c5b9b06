"""A mistake of ours is told as one: never as a flaw of a file, a service or a disk, and it stops nobody else.

The programs are real processes. What is wrong in them is put there as it came to be for people: a library that takes
other words than we say, or a name that is not there, in one place.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import textwrap
from pathlib import Path

import pytest

from reconciler.cli.terminal import ExitCode
from tests.support.project import POSTERS, Project, picture
from tests.support.simulator import Simulator
from tests.workspace.builders import MEDIA, make_clip

OURS = "this is a mistake in reconciler itself"
BLAME = ("damaged", "broken off", "export it again", "cannot be opened", "cannot be decoded")

NEWER_PYAV = """
    import av
    real = av.open
    def open(file, mode=None, *, format=None, options=None):  # as PyAV 19 has it, and 16 had not
        return real(file, mode, format=format, options=options)
    av.open = open
"""
NAMELESS_PNG = """
    from PIL import PngImagePlugin
    def load(self):
        return self.no_such_thing
    PngImagePlugin.PngImageFile.load = PngImagePlugin.PngImageFile.verify = load
"""
UNREADABLE_HEADER = """
    from PIL import PngImagePlugin
    class Reader:
        def __init__(self):
            pass
    PngImagePlugin.PngImageFile = Reader
"""
NO_ENCODER = """
    import av
    real = av.open
    def open(file, mode=None, *, format=None, metadata_errors="strict", options=None):
        if mode == "w":
            return no_such_name
        return real(file, mode, format=format, metadata_errors=metadata_errors, options=options or {})
    av.open = open
"""
NO_PICTURE = """
    from PIL import Image
    real = Image.Image.save
    def save(self, fp, format=None, *, level=0):
        return real(self, fp, format)
    Image.Image.save = save
"""
NO_BODY = """
    import reconciler.engine.buy.create as effects
    real = effects.create_body
    def create_body(request, *, external_task_id, image, video_url):
        return real(request, external_task_id=external_task_id, image=image, video_url=video_url)
    def chosen(request, **rest):
        return (create_body if request["prompt"] == "ours" else real)(request, **rest)
    effects.create_body = chosen
"""


def breaking(folder: Path, source: str) -> dict[str, str]:
    """Return the environment in which every interpreter begins with this code."""
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(textwrap.dedent(source))
    return {"PYTHONPATH": os.pathsep.join([str(folder), str(Path.cwd())])}


def film(project: Project) -> Path:
    return Path(shutil.copy(MEDIA / "bigbuckbunny.mp4", project.specs / "film.mp4"))


@pytest.mark.parametrize(
    ("source", "named"),
    [
        (NEWER_PYAV, "film.mp4"),
        (NAMELESS_PNG, "photo.png"),
        (UNREADABLE_HEADER, "photo.png"),
    ],
    ids=["a film", "the pixels of an image", "the header of an image"],
)
def test_a_good_file_is_not_blamed_and_the_other_specs_go_on(
    tmp_path: Path, project: Project, sim: Simulator, source: str, named: str
) -> None:
    """The spec that needs the broken call is not bought, its file stays as it is, and nothing wrong is remembered."""
    film(project)
    picture(project.specs / "photo.png")
    before = {
        name: hashlib.sha256((project.specs / name).read_bytes()).hexdigest()
        for name in ("film.mp4", "photo.png")
    }
    project.spec("local.yaml", image_url="photo.png", video_url="film.mp4", prompt="ours")
    project.spec("remote.yaml")
    done = project.apply(env=breaking(tmp_path / "broken", source))
    assert done.code == ExitCode.NEEDS_SOMEBODY, done
    assert OURS in done.err + done.out, done
    assert f"`specs/{named}`" in done.err + done.out, done
    assert not [word for word in BLAME if word in done.err + done.out], done
    assert list(sim.billed().values()) == [1]
    assert before == {
        name: hashlib.sha256((project.specs / name).read_bytes()).hexdigest() for name in before
    }
    assert project.apply().code == ExitCode.DONE  # the same file, with the program mended
    assert sorted(sim.billed().values()) == [1, 1]
    assert all((project.specs / f"{name}.mp4").exists() for name in ("local", "remote"))


def test_a_film_that_is_not_prepared_because_of_us_is_not_blamed(
    tmp_path: Path, project: Project, sim: Simulator
) -> None:
    """The process that prepares says whose mistake it is, and the same film is prepared once that is mended."""
    make_clip(project.specs / "film.mov", codec="libx265", rotation=-90)
    project.spec("local.yaml", video_url="film.mov", prepare=True)
    project.spec("remote.yaml", prompt="another")
    done = project.apply(env=breaking(tmp_path / "broken", NO_ENCODER))
    assert done.code == ExitCode.NEEDS_SOMEBODY, done
    assert OURS in done.err + done.out, done
    assert "NameError" in done.err + done.out, done
    assert not [word for word in BLAME if word in done.err + done.out], done
    assert list(sim.billed().values()) == [1]
    assert project.apply().code == ExitCode.DONE
    assert sorted(sim.billed().values()) == [1, 1]


def test_a_picture_that_cannot_be_made_because_of_us_changes_nothing_of_the_video(
    tmp_path: Path, project: Project, sim: Simulator
) -> None:
    """It is said, and the video is saved and published as ever."""
    project.spec("dance.yaml")
    done = project.apply(env=breaking(tmp_path / "broken", NO_PICTURE) | POSTERS)
    assert done.code == ExitCode.DONE, done
    assert OURS in done.err, done
    assert (project.specs / "dance.mp4").exists()
    assert not (project.specs / "dance.poster.webp").exists()
    assert list(sim.billed().values()) == [1]


def test_a_mistake_in_one_turn_holds_that_generation_and_the_others_are_bought(
    tmp_path: Path, project: Project, sim: Simulator
) -> None:
    """`apply`, like `watch`, goes on with what it does not concern, and says at the end what is left."""
    project.spec("ours.yaml", prompt="ours")
    project.spec("dance.yaml")
    done = project.apply(env=breaking(tmp_path / "broken", NO_BODY))
    assert done.code == ExitCode.NEEDS_SOMEBODY, done
    assert OURS in done.err + done.out, done
    assert (project.specs / "dance.mp4").exists()
    assert list(sim.billed().values()) == [1]
    rows = project.status().document["generations"]
    assert {row["spec"]: row["status"] for row in rows} == {
        "specs/dance.yaml": "complete",
        "specs/ours.yaml": "blocked",
    }
    assert project.apply().code == ExitCode.DONE
    assert sorted(sim.billed().values()) == [1, 1]
