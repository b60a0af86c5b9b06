"""What is remembered of files by their content, and what may be forgotten."""

from __future__ import annotations

from decimal import Decimal
from io import BufferedReader

import pytest

from reconciler.core.media_rules import Source
from reconciler.core.motion_control import UNITS_PER_SECOND
from reconciler.store.file_cache import FileCache
from reconciler.workspace.index.spec_index import SpecIndex
from reconciler.workspace.media.verdicts import Verdict
from reconciler.workspace.read import local
from reconciler.workspace.read.loader import Desired, load
from reconciler.workspace.read.local import Verdicts, of_specs
from tests.workspace.builders import SPEC, Project, make_image


def filled(count: int) -> dict[str, tuple[str, bytes]]:
    """The rows of a cache with this many verdicts."""
    verdicts = Verdicts()
    for number in range(count):
        verdicts.put(
            f"{number:064x}",
            "image",
            Source(width=number, height=1, seconds=Decimal("1.5"), format="é"),
        )
    return verdicts.take_new()


def test_a_verdict_comes_back_from_a_cache_as_it_was() -> None:
    """Facts and sentences survive, for the key they were made for; nothing is written twice."""
    verdicts = Verdicts()
    verdicts.recall({"specs/a.yaml": ("3;1", b"{}"), **filled(2)})
    assert verdicts.of(f"{1:064x}", "image") == Source(
        width=1, height=1, seconds=Decimal("1.5"), format="é"
    )
    assert verdicts.of(f"{1:064x}", "video") is None
    assert verdicts.take_new() == {}
    assert of_specs(["specs/a.yaml", *filled(2)]) == ["specs/a.yaml"]


@pytest.mark.parametrize(
    "row",
    [("0", b'[1,1,null,""]'), ("1", b""), ("1", b"\xff"), ("1", b"[1]"), ("1", b"{}"), ("1", b"null"), ("1", b'[1,1,"x",""]'), ("1", b'[null,1,null,""]')],
)  # fmt: skip
def test_a_damaged_or_older_row_is_as_good_as_none(row: tuple[str, bytes]) -> None:
    """Then the file is decoded again."""
    verdicts = Verdicts()
    verdicts.recall(dict.fromkeys(filled(1), row))
    assert verdicts.of(f"{0:064x}", "image") is None


def test_what_nothing_names_is_forgotten_when_there_is_much_of_it() -> None:
    """A checkout may bring a file back, so a thousand are kept; a cache does not grow for ever."""
    few, many = Verdicts(), Verdicts()
    few.recall(filled(900))
    assert few.surplus([]) == []
    many.recall(filled(2000))
    used = [(f"{number:064x}", "image") for number in range(400)]
    assert len(many.surplus(used)) == 1600
    assert not set(many.surplus(used)) & {f"//image_url/{digest}" for digest, _ in used}


def test_a_daemon_decodes_a_touched_file_no_second_time(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An index judges by content as a load does; new content is decoded."""
    project.write("specs/a.yaml")
    index = SpecIndex(project.root, "specs", prices=UNITS_PER_SECOND)
    before = index.desired()
    judged: list[str] = []
    judge = local._judged

    def noted(file: BufferedReader, key: str) -> Verdict:
        judged.append(key)
        return judge(file, key)

    monkeypatch.setattr(local, "_judged", noted)
    project.settle("assets/girl.png")
    project.settle("assets/dance.mp4")
    index.refresh(["assets/girl.png", "assets/dance.mp4"])
    assert index.desired() == before
    assert judged == []
    make_image(project.root / "assets/girl.png", (400, 400))
    index.refresh(["assets/girl.png"])
    assert judged == ["image"]
    assert index.desired() != before


class Killed(BaseException):
    """The program's end."""


def test_a_look_that_is_cut_off_goes_on_where_it_stopped(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was decoded is kept as it comes; what was not looked at yet says so, and is no wish until it is."""
    for name in "abc":
        make_image(project.root / "assets" / f"{name}.png", (400, 300 + ord(name)))
        project.write(f"specs/{name}.yaml", SPEC.replace("girl.png", f"{name}.png"))
    monkeypatch.setattr("reconciler.workspace.read.local._KEEP_AFTER", 0)
    cache, judge = FileCache(project.root / "cache.db"), local._judged
    judged: list[str] = []

    def noted(file: BufferedReader, key: str) -> Verdict:
        if judged == ["image", "video"]:
            judged.append("")
            raise Killed
        judged.append(key)
        return judge(file, key)

    def loaded() -> Desired:
        return load(project.root, "specs", prices=UNITS_PER_SECOND, cache=cache)

    monkeypatch.setattr(local, "_judged", noted)
    with pytest.raises(Killed):
        loaded()
    with monkeypatch.context() as patch:
        patch.setattr("reconciler.workspace.read.loader.PATIENCE", 0)
        desired = loaded()
    assert desired.generations == ()
    assert all("was not looked at yet" in str(problem) for problem in desired.problems)
    assert len(loaded().generations) == 3
    assert sorted(judged) == ["", "image", "image", "image", "video"]
