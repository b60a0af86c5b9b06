"""Previews by the real program: there by default, off and on by a setting, in nobody's way."""

from __future__ import annotations

import pytest

from tests.support.project import QUICK, UNREACHABLE, Project
from tests.support.simulator import Simulator

POSTER = "specs/dance.poster.webp"


@pytest.fixture
def wished(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.delitem(QUICK, "RECONCILER_POSTERS")  # as it is where nothing is set
    project.spec("dance.yaml")
    return project


def pictures(project: Project) -> list[str]:
    return [name for name in project.snapshot() if name.endswith(".webp")]


def test_a_poster_comes_with_the_video_and_comes_back_without_a_provider(wished: Project) -> None:
    """Answer, receipt and disk name the same poster; deleted, it is put back offline with the same bytes."""
    done = wished.apply()
    assert done.code == 0, done
    (row,) = done.document["generations"]
    (entry,) = wished.receipts()["specs/dance.receipt.json"]
    assert [preview["path"] for preview in row["previews"]] == pictures(wished) == [POSTER]
    assert [preview | {"path": POSTER} for preview in entry["previews"]] == row["previews"]
    before = wished.snapshot()
    (wished.root / POSTER).unlink()
    again = wished.apply(env=UNREACHABLE)
    assert again.code == 0, again
    assert {name: sha256 for name, (_, sha256) in wished.snapshot().items()} == {
        name: sha256 for name, (_, sha256) in before.items()
    }
    settled = wished.snapshot()
    assert wished.apply(env=UNREACHABLE).code == 0
    assert wished.snapshot() == settled


def test_a_foreign_file_in_the_posters_place_holds_nothing_up(
    wished: Project, sim: Simulator
) -> None:
    """It is there before anything is bought: bought all the same, exit 0, untouched, said."""
    wished.write(POSTER, "mine")
    done = wished.apply()
    assert done.code == 0, done
    assert list(done.statuses.values()) == ["complete"]
    assert f"`{POSTER}` holds a file that is not ours" in done.err
    assert (wished.root / POSTER).read_text() == "mine"
    assert list(sim.billed().values()) == [1]
    assert wished.run("plan", "--detailed-exitcode").code == 0


@pytest.mark.parametrize(
    ("posters", "sheets", "made"),
    [
        ("false", "false", []),
        ("true", "true", [POSTER, "specs/dance.sheet.webp"]),
        ("false", "true", ["specs/dance.sheet.webp"]),
    ],
)
def test_the_settings_say_what_is_made(
    wished: Project, posters: str, sheets: str, made: list[str]
) -> None:
    """Posters and contact sheets are switched one by one, and afterwards nothing is left to do."""
    wished.env |= {"RECONCILER_POSTERS": posters, "RECONCILER_CONTACT_SHEETS": sheets}
    assert wished.apply().code == 0
    assert pictures(wished) == made
    assert wished.run("plan", "--detailed-exitcode").code == 0
