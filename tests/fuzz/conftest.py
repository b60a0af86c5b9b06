"""An environment without any of our settings, and what a campaign wants to know at the end."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.fuzz.profile import CAMPAIGN, cases


@pytest.fixture(autouse=True, scope="module")
def _no_settings() -> Iterator[None]:
    """No setting of this machine reaches a case, and nothing but loopback is ever asked."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.upper().startswith(("KLING", "RECONCILER_")) or name.lower().endswith("_proxy"):
                patch.delenv(name)
        patch.setenv("KLING_BASE_URL", "http://127.0.0.1:9")
        yield


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many cases a campaign ran in each area."""
    if CAMPAIGN:
        for area, count in sorted(cases.items()):
            terminalreporter.write_line(f"cases {area} {count}")
