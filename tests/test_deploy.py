"""The files that a deployment begins with say what they promise; what a machine here can check of them, it checks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DEPLOY = Path(__file__).resolve().parents[1] / "docs" / "deploy"
UNIT = (DEPLOY / "reconciler.service").read_text()
STAGES = (DEPLOY / "Containerfile").read_text().split("\nFROM ")[1:]


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        (r"LimitCORE=0", "a dump of its memory holds the key"),
        (r"MemoryMax=\d+G", "a costly file is not the machine's trouble"),
        (r"TasksMax=\d+", "nor is a crowd of children"),
        (r"OOMPolicy=continue", "a child that took too much is not the daemon's end"),
        (r"WatchdogSec=\d+", "a daemon that hangs is started anew"),
        (r"User=(?!root)\w+", "it needs no right of root"),
        (r"NoNewPrivileges=yes", "and gets none"),
        (r"CapabilityBoundingSet=", "and keeps none"),
        (r"ProtectSystem=strict", "it writes in its folder alone"),
        (r"Restart=on-failure", "a crash needs nothing but a start"),
    ],
)
def test_the_unit_bounds_what_the_daemon_may_do(setting: str, reason: str) -> None:
    """Each of these stands in the unit, once."""
    assert len(re.findall(rf"^{setting}$", UNIT, re.MULTILINE)) == 1, reason


def test_the_container_is_pinned_and_holds_what_runs() -> None:
    """An exact base in every stage; the last one has neither root, nor tools, nor what was built with them."""
    for stage in STAGES:
        base = stage.split()[0]
        assert re.search(r"@sha256:[0-9a-f]{64}$|:\d+\.\d+\.\d+-[a-z]+-[a-z]+$", base), base
    last = STAGES[-1]
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", last, re.MULTILINE)
    assert re.findall(r"^COPY (.+)$", last, re.MULTILINE) == [
        "--from=build /opt/reconciler /opt/reconciler"
    ]
    into = re.findall(r"--python /opt/reconciler install (.+?)(?: &&|\Z)", STAGES[0], re.DOTALL)
    assert len(into) == 2
    assert "--require-hashes" in into[0]
    assert "requirements.runtime.lock" in into[0]
    assert "--no-deps --no-index" in into[1]
