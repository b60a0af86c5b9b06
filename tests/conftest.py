"""What holds for every test: nothing of whoever runs them is read, and no time goes into what no test looks at."""

from __future__ import annotations

import gc
import os

from tests.support import authority, decoders

os.environ["XDG_CONFIG_HOME"] = os.devnull
authority.trust_it_alone()
decoders.start_warm(decoders.forking)
gc.set_threshold(50_000, 20, 20)  # the collector took an eighth of the time
