"""The audit of the pinned dependencies: what fails a build, and what is only said."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]


def audit() -> ModuleType:
    """Return the script as a module."""
    spec = importlib.util.spec_from_file_location("audit", ROOT / ".ci" / "audit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SOUND = {"name": "one", "version": "1.0", "vulns": []}
MISSED = {"name": "two", "version": "2.0", "skip_reason": "not found"}
BAD = {
    "name": "three",
    "version": "3.0",
    "vulns": [{"id": "GHSA-x", "fix_versions": ["3.1"]}, {"id": "GHSA-y", "fix_versions": []}],
}


@pytest.mark.parametrize(
    ("packages", "required", "code", "said"),
    [
        ([SOUND], False, 0, "no known vulnerability in 1 packages"),
        ([SOUND, BAD], False, 1, "three 3.0: GHSA-x (mended in 3.1), GHSA-y (mended in no version"),
        ([MISSED, BAD], False, 1, "three 3.0"),
        ([SOUND, MISSED], False, 0, "NOT DONE. Nobody answered for 1 of 2 packages"),
        ([SOUND, MISSED], True, 1, "NOT DONE"),
        ([], False, 0, "NOT DONE. Nobody answered for the packages"),
        (None, False, 0, "NOT DONE"),
        (None, True, 1, "NOT DONE"),
    ],
)
def test_a_vulnerability_fails_and_silence_is_said(
    packages: list[dict[str, Any]] | None, required: bool, code: int, said: str
) -> None:
    """What is known to be bad fails the build with a sentence; what nobody answered for is loud, and fails on demand."""
    report = None if packages is None else {"dependencies": packages, "fixes": []}
    found, sentence = audit().verdict(report, required=required)
    assert found == code
    assert said in sentence


def test_the_lock_names_no_address_and_hashes_everything() -> None:
    """The lock file holds no URL, and a hash for every package."""
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert "://" not in text
    pinned = [line for line in text.splitlines() if line and not line.startswith((" ", "#"))]
    assert pinned
    assert all("==" in line and line.endswith("\\") for line in pinned)
