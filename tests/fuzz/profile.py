"""How many cases are run: a fixed sample in CI, fresh ones in a campaign; and how many there were, by area."""

from __future__ import annotations

import functools
import os
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from hypothesis import HealthCheck, Phase, given, settings

CAMPAIGN: Final = os.environ.get("HYPOTHESIS_PROFILE") == "campaign"
TIMES: Final = int(os.environ.get("FUZZ_TIMES", "20"))
"""How many times the sample of CI one test of a campaign runs."""

cases: Counter[str] = Counter()
"""How many inputs were tried in this process, by area; a test that gets a list tries as many at once."""


def fuzz(area: str, sample: int, **strategies: Any) -> Callable[[Callable[..., None]], Any]:
    """Run a test on `sample` cases that are always the same, or in a campaign on many that never are."""

    def decorate(test: Callable[..., None]) -> Any:
        @functools.wraps(test)
        def counted(*args: Any, **kwargs: Any) -> None:
            many = [value for value in kwargs.values() if isinstance(value, list)]
            cases[area] += sum(map(len, many)) if many else 1
            test(*args, **kwargs)

        chosen = settings(
            max_examples=sample * TIMES if CAMPAIGN else sample,
            derandomize=not CAMPAIGN,
            database=None,
            deadline=None,
            phases=[Phase.explicit, Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        return chosen(given(**strategies)(counted))

    return decorate
