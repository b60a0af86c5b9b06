"""What packs hold together: only those that pay count, and what is not told is not guessed."""

from __future__ import annotations

from decimal import Decimal

import pytest

from reconciler.kling.wire import ResourcePack, balance_of

NOW = 1_764_028_800_000  # ms
DAY = 86_400_000


def pack(**changes: object) -> ResourcePack:
    """Return a pack that pays: 10 of 100 units, for ten days more."""
    values: dict[str, object] = {
        "name": "Pack",
        "status": "online",
        "total": Decimal(100),
        "remaining": Decimal(10),
        "invalid_at": NOW + 10 * DAY,
    }
    return ResourcePack(**(values | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("packs", "remaining", "expiry", "reason"),
    [
        ([], "0", None, "a postpaid account lists none"),
        ([pack(), pack(invalid_at=NOW + DAY)], "20", NOW + DAY, "the next one to end counts"),
        ([pack(), pack(status="expired")], "10", NOW + 10 * DAY, "over"),
        ([pack(), pack(status="toBeOnline")], "10", NOW + 10 * DAY, "not yet"),
        ([pack(), pack(status="runOut")], "10", NOW + 10 * DAY, "empty, by its status"),
        ([pack(), pack(remaining=Decimal(0), invalid_at=NOW + 1)], "10", NOW + 10 * DAY, "empty"),
        ([pack(invalid_at=NOW)], "0", None, "over by the clock, whatever its status says"),
        ([pack(invalid_at=None)], "10", None, "for ever"),
        ([pack(), pack(remaining=None)], None, NOW + 10 * DAY, "one does not say"),
    ],
)
def test_only_packs_that_pay_count(
    packs: list[ResourcePack], remaining: str | None, expiry: int | None, reason: str
) -> None:
    """Remaining units of all of them, and when the first one ends."""
    assert reason
    balance = balance_of(packs, NOW)
    assert balance.remaining == (None if remaining is None else Decimal(remaining))
    assert balance.next_expiry == expiry


@pytest.mark.parametrize(
    ("packs", "short", "reason"),
    [
        ([pack()], False, "just enough"),
        ([pack(remaining=Decimal("9.999"))], True, "not quite"),
        ([pack(status="runOut")], True, "none that pays"),
        ([], False, "nobody knows what a postpaid account can pay"),
        ([pack(remaining=None)], False, "nobody knows what is in it"),
    ],
)
def test_short_is_only_what_is_known_to_be(
    packs: list[ResourcePack], short: bool, reason: str
) -> None:
    """A plan for 10 units."""
    assert reason
    assert balance_of(packs, NOW).is_short_of(Decimal(10)) is short
