"""A generation's identity: its canonical JSON and the `external_task_id` computed from it.

The scheme is frozen by golden vectors in the tests: an accidental change would buy every user's library again.
A deliberate change gets a new prefix, and the old ids stay recognised.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping

PREFIX = "mc1-"
_DIGITS = 26  # of base32: 130 bits of the SHA-256
LONGEST_ID = 64  # characters of an id that we send; the provider's own limit is unknown (U)
_ATTEMPT = re.compile(r"-r([1-9][0-9]*)\Z")
_COMPUTED = re.compile(rf"{PREFIX}[a-z2-7]{{{_DIGITS}}}")
_SHORTEST_CUT = 16  # characters of an id, fewer of which could fit several generations


def canonical_json(value: object) -> str:
    """Return JSON in UTF-8 with sorted keys and no white space, the same for equal values."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def canonical_generation(kind: str, request: Mapping[str, object], take: int) -> str:
    """Return the canonical JSON of a generation; `request` must already be complete and normal."""
    return canonical_json({"kind": kind, "request": request, "take": take})


def compute_external_task_id(canonical: str) -> str:
    """Return the idempotency key of a generation: `mc1-` and 26 characters of base32 of its SHA-256."""
    return _named(hashlib.sha256(canonical.encode("utf-8")).digest())


def _named(digest: bytes) -> str:
    return PREFIX + base64.b32encode(digest).decode("ascii").lower()[:_DIGITS]


def take_of(base_id: str, kind: str, request: Mapping[str, object], most: int) -> int | None:
    """Return the take (from 1 to `most`) that a computed id was computed for; None where none fits."""
    whole = canonical_generation(kind, request, 1).encode("utf-8")
    begun = hashlib.sha256(whole.removesuffix(b"1}"))  # a long text is hashed once
    for take in range(1, most + 1):
        digest = begun.copy()
        digest.update(b"%d}" % take)
        if _named(digest.digest()) == base_id:
            return take
    return None


def attempt_id(base_id: str, attempt: int) -> str:
    """Return the id under which this attempt (from 1) is known to the provider."""
    return base_id if attempt == 1 else f"{base_id}-r{attempt}"


def has_room(base_id: str, attempt: int) -> bool:
    """Return whether an attempt's id is short enough to be sent."""
    return len(attempt_id(base_id, attempt)) <= LONGEST_ID


def split_attempt(external_task_id: str) -> tuple[str, int]:
    """Return the base id and the attempt (from 1) that an id names."""
    match = _ATTEMPT.search(external_task_id)
    if match is None or int(match.group(1)) < 2:
        return external_task_id, 1
    return external_task_id[: match.start()], int(match.group(1))


def may_name(named: str, ours: str) -> bool:
    """Return whether an answer whose task is called `named` can be about our attempt `ours`.

    How the provider keeps ids is unknown (U): one may be cut, in another case or missing. Another generation's id never fits.
    """
    if not named or named == ours:
        return True
    base = split_attempt(named)[0]
    if _COMPUTED.fullmatch(base) and base != split_attempt(ours)[0]:
        return False
    kept, whole = named.casefold(), ours.casefold()
    return kept == whole or (len(kept) >= _SHORTEST_CUT and whole.startswith(kept))


def is_computed(external_task_id: str) -> bool:
    """Return whether an id (of any attempt) was computed from a content."""
    return _COMPUTED.fullmatch(split_attempt(external_task_id)[0]) is not None
