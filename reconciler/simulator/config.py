"""What can be chosen about a simulated provider: frozen values with defaults, and nothing that acts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from reconciler.simulator.unknowns import Unknowns

ACCESS_KEY = "simulator-access-key"
SECRET_KEY = "simulator-secret-key-that-opens-nothing-else"  # noqa: S105 - opens only the simulator
API_KEY = "simulator-api-key"

Prices = Mapping[tuple[str, str], Decimal]

PRICES: Prices = MappingProxyType(
    {
        ("kling-v2-6", "std"): Decimal("0.5"),
        ("kling-v2-6", "pro"): Decimal("0.8"),
        ("kling-v3", "std"): Decimal("0.9"),
        ("kling-v3", "pro"): Decimal("1.2"),
    }
)
"""Units per second of result, by model and mode (observed, a price list of 2026)."""


@dataclass(frozen=True)
class SimulatorConfig(Unknowns):
    """One simulated provider with one account. Times are in seconds, `…_s`; virtual unless said otherwise."""

    folder: Path
    """Where tasks, ledger, clock, media and films are kept; a restart on the same folder goes on from there."""

    host: str = "127.0.0.1"
    """A loopback address; anything else is refused."""
    port: int = 0
    """The API's port; 0 lets the system choose."""
    results_port: int = 0
    """The port of results and hosted media, another origin than the API's (documented); 0 lets the system choose."""

    access_key: str = ACCESS_KEY
    secret_key: str = SECRET_KEY
    api_key: str = API_KEY
    """A static key that is accepted as it is (observed)."""
    clock_skew_s: float = 0.0
    """Real seconds that the provider's clock is ahead of ours: tokens and the `Date` header."""

    speed: float = 1.0
    """Virtual seconds per real second."""
    task_s: float = 120.0
    """From create to end, give or take a tenth that depends on the task."""
    queue_s: float = 5.0
    """From create to `processing`."""

    concurrency: int = 5
    """Tasks that may be under way at once; a slot is held from `submitted` to the end (documented)."""
    pack_units: Decimal = Decimal(1000)
    """What the account's only resource pack holds, in provider units."""
    pack_days: float = 365.0
    """How long the pack is valid, virtual days from the first start."""
    prices: Prices = field(default_factory=lambda: PRICES)
    """Units per second of result, by model and mode."""
    costs_interval_s: float = 1.0
    """Real seconds between two questions for the balance (documented: one per second)."""

    foreign_video_s: float = 5.0
    """How long a reference video on another host is taken to be: it is never fetched."""
    render: Literal["full", "draft", "stamp"] = "full"
    """`draft` films are small enough to make in milliseconds; `stamp` ones are copies of one tiny film of their
    kind that differ in a box with the task's id, and cost next to nothing."""
    render_workers: int = 1
    """Films made at the same time."""
    result_share: float = 1.0
    """The length of a film as a share of its reference's (documented: it may be shorter, and nothing is refunded)."""
    url_lifetime_s: float = 30 * 24 * 3600.0
    """How long a result's URL works after the query that signed it; none works longer than its file is there (observed:
    30 days after the task's end)."""
    cleared_after_s: float = 30 * 24 * 3600.0
    """When the file of a result is cleared, counted from the task's end (documented: 30 days)."""

    fail_marker: str = "fail"
    """`[[fail: reason]]` in a prompt makes the task end as failed with that reason."""
    policy_marker: str = "policy"
    """`[[policy]]` in a prompt makes the create fail with 1301."""
    short_marker: str = "short"
    """`[[short: 3.1]]` in a prompt makes the result last 3.1 s; it is billed by the reference all the same (documented)."""
    callback_secret: str = ""
    """The account's webhook secret, `whsec_` and Base64: calls are signed with it (documented); empty for none."""
    faults: tuple[Mapping[str, object], ...] = ()
    """The fault plan to start with, as `POST /simulator/faults` takes it."""
    seed: str = ""
    """Makes every id and draw the same on every fresh folder; empty for ids that no other simulator gives."""
