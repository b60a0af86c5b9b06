"""A simulator and somebody who calls it, for the tests that need no configuration of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.simulator.caller import Caller, calling
from tests.support.simulator import Simulator, simulator


@pytest.fixture
def sim() -> Iterator[Simulator]:
    with simulator() as running:
        yield running


@pytest.fixture
def api(sim: Simulator) -> Iterator[Caller]:
    with calling(sim) as caller:
        yield caller
