"""The account: its resource pack, what is left of it, and the answer of the balance endpoint."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from reconciler.simulator.clock import VirtualClock
from reconciler.simulator.config import SimulatorConfig
from reconciler.simulator.errors import ApiError
from reconciler.simulator.ledger import Ledger

PACK_NAME = "Simulated motion control"


class Account:
    """One prepaid pack; what is gone from it is what the ledger says."""

    def __init__(
        self,
        config: SimulatorConfig,
        clock: VirtualClock,
        ledger: Ledger,
        real: Callable[[], float],
    ) -> None:
        """`real` returns the real time in seconds."""
        self._config = config
        self._real = real
        self._clock = clock
        self._ledger = ledger
        self._asked = float("-inf")

    def remaining(self) -> Decimal:
        """Return the units that are not spent or bound; none once the pack has expired."""
        if self._clock.now() >= self._invalid_time():
            return Decimal(0)
        return self._config.pack_units - self._ledger.spent()

    def shown(self) -> Decimal:
        """Return the units that the balance shows as left: they are taken at the end of a task (observed), or later."""
        now = self._clock.now()
        if now >= self._invalid_time():
            return Decimal(0)
        lag = round(self._config.balance_lag_s * 1000)
        return self._config.pack_units - self._ledger.taken(now - lag)

    def limit_questions(self) -> None:
        """Raise `ApiError` 1302 when the balance was asked for less than the interval ago (documented: 1 s)."""
        now = self._real()
        if 0 <= now - self._asked < self._config.costs_interval_s:
            raise ApiError(1302)
        self._asked = now

    def costs(self, start: int, end: int, pack_name: str) -> dict[str, object]:
        """Return `data` for the packs that were valid at some time in [`start`, `end`], ms.

        An empty `pack_name` means every pack. The form is documented.
        """
        valid = self._clock.genesis <= end and self._invalid_time() >= start
        listed = valid and pack_name in {"", PACK_NAME}
        return {
            "code": 0,
            "msg": "success",  # observed
            "resource_pack_subscribe_infos": [self._pack()] if listed else [],
        }

    def _invalid_time(self) -> int:
        return self._clock.genesis + round(self._config.pack_days * 24 * 3600 * 1000)

    def _pack(self) -> dict[str, object]:
        remaining = self.shown()
        in_time = "online" if remaining > 0 else "runOut"
        return {
            "resource_pack_name": PACK_NAME,
            "resource_pack_id": "simulated-pack-1",
            "resource_pack_type": "decreasing_total",
            "total_quantity": float(self._config.pack_units),
            "remaining_quantity": float(remaining),
            "purchase_time": self._clock.genesis,
            "effective_time": self._clock.genesis,
            "invalid_time": self._invalid_time(),
            "status": in_time if self._clock.now() < self._invalid_time() else "expired",
        }
