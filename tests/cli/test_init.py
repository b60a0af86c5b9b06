"""A starting folder: what it holds, and that nothing that is there is touched."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reconciler.cli.main import run
from reconciler.core.kinds import DEFAULT, keys_of


def test_a_new_folder_has_a_valid_spec_and_no_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What `init` makes can be validated and planned at once; the key is the user's to add."""
    root = tmp_path / "videos"
    assert run(["init", str(root)]) == 0
    assert run(["--root", str(root), "validate", "--json"]) == 0
    said = capsys.readouterr().out
    assert json.loads(said[said.index("{") :]) == {"specs": 1, "generations": 1, "errors": []}
    assert "KLING_ACCESS_KEY=\n" in (root / ".env.example").read_text()
    assert {"state/", ".env"} <= set((root / ".gitignore").read_text().splitlines())
    assert set(json.loads((root / "spec.schema.json").read_text())["properties"]) == {
        "$schema",
        *keys_of(DEFAULT),
    }
    for name in ("README.yaml", "clip.info.json", "deep/package.json"):
        (root / "specs" / name).parent.mkdir(exist_ok=True)
        (root / "specs" / name).write_text("{}")
    assert run(["--root", str(root), "validate", "--json"]) == 0


def test_what_is_there_is_never_touched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Somebody's own files stay byte for byte, and a folder of specs gets no sample that could be bought."""
    (tmp_path / "specs").mkdir()
    (tmp_path / ".gitignore").write_text("mine\n")
    assert run(["init", str(tmp_path)]) == 0
    assert (tmp_path / ".gitignore").read_text() == "mine\n"
    assert list((tmp_path / "specs").iterdir()) == []
    assert "add to it: state/ .env" in capsys.readouterr().out
    capsys.readouterr()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert run(["init", str(tmp_path)]) == 0
    assert "Nothing to do" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_file_in_the_way_is_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The folder to begin in is a file: exit 1, and nothing is overwritten."""
    (tmp_path / "videos").write_text("mine")
    assert run(["init", str(tmp_path / "videos")]) == 1
    assert "Traceback" not in capsys.readouterr().err
    assert (tmp_path / "videos").read_text() == "mine"


def test_a_root_that_is_named_is_where_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--root DIR init` writes nothing into the working folder; a folder that is named as well lies below the root."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    assert run(["--root", str(tmp_path / "there"), "init"]) == 0
    assert run(["--root", str(tmp_path / "there"), "init", "deeper"]) == 0
    assert list(here.iterdir()) == []
    assert (tmp_path / "there/specs/dance.yaml").exists()
    assert (tmp_path / "there/deeper/specs/dance.yaml").exists()
