"""The checks of `doctor` that ask the provider: two questions, and they cost nothing."""

from __future__ import annotations

import asyncio
import time

from reconciler.cli.balance import expiry_warnings, packs_of
from reconciler.cli.checks import Check
from reconciler.cli.provider import has_key, provider
from reconciler.cli.views import units_text
from reconciler.core.errors import ReconcilerError
from reconciler.core.moments import day_of
from reconciler.core.schedule import SECOND
from reconciler.engine.outcome import in_a_line
from reconciler.kling.client import KlingClient
from reconciler.kling.errors import ProviderError, TryLater
from reconciler.kling.wire import ResourcePack, balance_of
from reconciler.settings import Settings

MOST_SKEW = 5.0  # s; a token is dated back by as much (documented)


def provider_checks(settings: Settings) -> list[Check]:
    """Return what the provider says of the key, the time and the balance; needs a network, changes nothing."""
    if not has_key(settings):
        told = "not asked: there is no key"
        return [Check(name, False, told) for name in ("provider", "clock", "balance")]
    try:
        return asyncio.run(_ask(settings))
    except ReconcilerError as error:
        return [
            Check(name, False, f"not asked: {in_a_line(error)}")
            for name in ("provider", "clock", "balance")
        ]


async def _ask(settings: Settings) -> list[Check]:
    async with provider(settings) as client:
        try:
            await client.page(1, 1)
        except TryLater as error:
            unknown = "not known: the provider gave no answer"
            return [
                Check("provider", False, f"{client.base_url}: {in_a_line(error)}"),
                Check("clock", False, unknown),
                Check("balance", False, unknown),
            ]
        except ProviderError as error:
            told = f"{client.base_url} answers, but refuses: {in_a_line(error)}"
            reached = Check("provider", False, told)
        else:
            reached = Check("provider", True, f"{client.base_url} answers and accepts the key")
        return [reached, _clock(client.clock_skew), await _balance(client)]


def _clock(skew: float) -> Check:
    if abs(skew) <= MOST_SKEW:
        return Check("clock", True, f"within {max(abs(skew), 1):.0f} s of the provider's")
    way = "behind" if skew > 0 else "ahead of"
    told = f"{abs(skew):.0f} s {way} the provider's; tokens are corrected for it, but set the clock"
    return Check("clock", False, told)


async def _balance(client: KlingClient) -> Check:
    try:
        packs = await packs_of(client)
    except ProviderError as error:
        return Check("balance", False, in_a_line(error))
    if not packs:
        return Check("balance", True, "the account lists no packs (a postpaid account has none)")
    now = int(time.time() * SECOND)
    balance = balance_of(packs, now)
    told = "; ".join(_pack(pack) for pack in balance.usable or packs)
    if not balance.usable:
        return Check("balance", False, f"no pack can be used: {told}")
    return Check("balance", True, ". ".join([told, *expiry_warnings(balance, now)]))


def _pack(pack: ResourcePack) -> str:
    left = "?" if pack.remaining is None else units_text(pack.remaining)
    total = "?" if pack.total is None else units_text(pack.total)
    until = "" if pack.invalid_at is None else f", until {day_of(pack.invalid_at)}"
    return f"{pack.name or 'a pack'}: {left} of {total} units, {pack.status}{until}"
