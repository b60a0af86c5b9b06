"""The command line in this process, over a project folder of a test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from reconciler.cli.main import run

SPEC = """\
image_url: https://example.com/girl.png
video_url: https://example.com/dance.mp4
character_orientation: image
mode: std
"""


class Shell:
    """A project folder and its command line."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.root = root
        self._capsys = capsys
        (root / "specs").mkdir(parents=True, exist_ok=True)

    def write(self, name: str, text: str = SPEC) -> Path:
        path = self.root / "specs" / name
        path.write_text(text)
        return path

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        self._capsys.readouterr()
        code = run(["--root", str(self.root), *arguments])
        said = self._capsys.readouterr()
        assert "Traceback" not in said.err
        assert "mistake in reconciler" not in said.err
        return code, said.out, said.err

    def json(self, *arguments: str) -> tuple[int, Any]:
        code, out, _ = self(*arguments, "--json")
        return code, json.loads(out)

    def only(self) -> dict[str, Any]:
        """Return the only generation as `status` shows it."""
        (row,) = self.json("status")[1]["generations"]
        found: dict[str, Any] = row
        return found
