"""What the account can still pay with, summed up from its packs. No request is made here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from reconciler.core.money import total
from reconciler.kling.wire import ResourcePack

_ONLINE = "online"  # documented; a pack in any other status pays for nothing now


@dataclass(frozen=True, slots=True)
class Balance:
    """The packs that pay, together. A postpaid account may list none, and pays all the same."""

    listed: int  # packs, usable or not
    usable: tuple[ResourcePack, ...]
    remaining: Decimal | None  # units of the usable ones; None: one does not say
    next_expiry: int | None  # ms, the provider's clock: when the first usable one ends

    def is_short_of(self, units: Decimal) -> bool:
        """Whether the packs are known not to hold so many units."""
        return bool(self.listed) and self.remaining is not None and self.remaining < units


def balance_of(packs: Sequence[ResourcePack], now: int) -> Balance:
    """Return the balance at a time (ms): packs that are online, not over, and not empty."""
    usable = tuple(pack for pack in packs if _is_usable(pack, now))
    known = [pack.remaining for pack in usable if pack.remaining is not None]
    ends = [pack.invalid_at for pack in usable if pack.invalid_at is not None]
    remaining = total(known) if len(known) == len(usable) else None
    return Balance(len(packs), usable, remaining, min(ends, default=None))


def _is_usable(pack: ResourcePack, now: int) -> bool:
    over = pack.invalid_at is not None and pack.invalid_at <= now
    return pack.status == _ONLINE and pack.remaining != Decimal(0) and not over
