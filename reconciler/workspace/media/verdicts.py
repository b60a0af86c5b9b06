"""What a look at a file found, and the same as JSON: the decoding process answers so, and the cache keeps it so."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from reconciler.core import media_rules

Verdict = media_rules.Source | str  # a file's facts, or its flaw, to go on after its name


def row_of(verdict: Verdict) -> list[Any]:
    """Return a verdict as a row of JSON values."""
    one, flaw = (media_rules.Source(), verdict) if isinstance(verdict, str) else (verdict, "")
    seconds = None if one.seconds is None else str(one.seconds)
    row = [one.width, one.height, seconds, one.format, one.codec, one.rotation, one.mirrored]
    return [*row, flaw]


def verdict_of(row: Sequence[Any]) -> Verdict:
    """Return the verdict of a row. Raises LookupError, TypeError, ValueError or ArithmeticError for a bad one."""
    width, height, seconds, format_, codec, rotation, mirrored, flaw = row
    facts = media_rules.Source(
        width=int(width),
        height=int(height),
        seconds=None if seconds is None else Decimal(seconds),
        format=str(format_),
        codec=str(codec),
        rotation=int(rotation),
        mirrored=bool(mirrored),
    )
    return str(flaw) if flaw else facts
