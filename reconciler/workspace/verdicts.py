"""What files turned out to be, by their content: one that was touched, moved or copied is not decoded again.

It goes into the same cache as what was read of specs, under keys that no spec can have. Losing it costs time.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Self

_VERSION = "6"  # raise it whenever a file may be judged in another way: then all are decoded again
_PREFIX = "//"  # no path relative to the root begins so
_SPARE = 1000  # verdicts on files that nothing names now; a checkout may bring them back


@dataclass(frozen=True, slots=True)
class Verdict:
    """The facts of a file, or what is wrong with it whatever it is used for."""

    width: int = 0  # px
    height: int = 0  # px
    seconds: Decimal | None = None
    format: str = ""  # as people call it
    codec: str = ""  # of a video
    rotation: int = 0  # degrees that a viewer turns it by, counter-clockwise
    mirrored: bool = False  # before
    flaw: str = ""  # goes on after the file's name

    def row(self) -> list[Any]:
        """Return it as JSON has it."""
        seconds = None if self.seconds is None else str(self.seconds)
        row = [self.width, self.height, seconds, self.format, self.codec]
        return [*row, self.rotation, self.mirrored, self.flaw]

    @classmethod
    def of_row(cls, row: Sequence[Any]) -> Self:
        """Return what a row says. Raises LookupError, TypeError, ValueError or ArithmeticError for what is none."""
        width, height, seconds, format_, codec, rotation, mirrored, flaw = row
        length = None if seconds is None else Decimal(seconds)
        coded = str(format_), str(codec), int(rotation), bool(mirrored)
        return cls(int(width), int(height), length, *coded, str(flaw))


class Verdicts:
    """Verdicts by the digest of a file and the medium that it is judged as."""

    def __init__(self) -> None:
        self._packed: dict[str, bytes] = {}
        self._new: dict[str, tuple[str, bytes]] = {}

    def recall(self, remembered: Mapping[str, tuple[str, bytes]]) -> None:
        """Take over what a cache holds."""
        for key, (version, packed) in remembered.items():
            if key.startswith(_PREFIX) and version == _VERSION:
                self._packed.setdefault(key, packed)

    def of(self, sha256: str, key: str) -> Verdict | None:
        """Return a verdict, None when there is none (or a damaged one)."""
        try:
            return Verdict.of_row(json.loads(self._packed[_row(sha256, key)]))
        except (LookupError, TypeError, ValueError, ArithmeticError, RecursionError):
            return None

    def put(self, sha256: str, key: str, verdict: Verdict) -> None:
        """Remember a verdict."""
        packed = json.dumps(verdict.row(), ensure_ascii=False, separators=(",", ":")).encode()
        self._packed[_row(sha256, key)] = packed
        self._new[_row(sha256, key)] = _VERSION, packed

    def take_new(self) -> dict[str, tuple[str, bytes]]:
        """Return what a cache does not hold yet, as its rows."""
        new, self._new = self._new, {}
        return new

    def surplus(self, used: Collection[tuple[str, str]]) -> list[str]:
        """Return the rows of a cache that may go, given the (digest, key) in use: the unused, when they are many."""
        kept = {_row(sha256, key) for sha256, key in used} | self._new.keys()
        idle = self._packed.keys() - kept
        return sorted(idle) if len(idle) > _SPARE + len(kept) else []


def of_specs(rows: Iterable[str]) -> list[str]:
    """Return the keys among a cache's rows that belong to specs."""
    return [row for row in rows if not row.startswith(_PREFIX)]


def _row(sha256: str, key: str) -> str:
    return f"{_PREFIX}{key}/{sha256}"
