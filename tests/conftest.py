"""What holds for every test: the settings file of whoever runs them is not read."""

from __future__ import annotations

import os

os.environ["XDG_CONFIG_HOME"] = os.devnull
