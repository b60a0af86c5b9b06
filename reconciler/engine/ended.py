"""How a run over a selection came to its end."""

from __future__ import annotations

from enum import Enum, auto


class Ended(Enum):
    """Why a run came back."""

    SETTLED = auto()  # nothing is left that this run could bring forward
    STOPPED = auto()
    TIMED_OUT = auto()
