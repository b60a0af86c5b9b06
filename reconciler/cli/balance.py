"""Asking what the account can still pay with, and saying it. Nothing waits long for the answer, or depends on it."""

from __future__ import annotations

import asyncio
import time
from decimal import Decimal

from rich.markup import escape

from reconciler.cli.provider import has_key, provider
from reconciler.cli.terminal import err
from reconciler.cli.views import units_and_money, units_text
from reconciler.core.errors import ReconcilerError, counted
from reconciler.core.moments import day_of
from reconciler.core.money import UnitPrice
from reconciler.core.schedule import DAY, SECOND
from reconciler.engine.outcome import in_a_line
from reconciler.kling.client import KlingClient
from reconciler.kling.errors import SlowDown
from reconciler.kling.wire import Balance, ResourcePack, balance_of
from reconciler.settings import Settings

SOON = 7 * DAY  # ms; a pack that ends so soon is worth a word
_LONGEST = 4.0  # s; whoever wants to buy is not held up longer for a remark
_BETWEEN = 1.1  # s; one question a second is allowed (documented)
_YEAR = 365 * DAY


async def packs_of(client: KlingClient) -> tuple[ResourcePack, ...]:
    """Return the account's packs. Raises ProviderError."""
    now = int(time.time() * SECOND)
    try:
        return await client.costs(start_ms=now - _YEAR, end_ms=now)
    except SlowDown:  # somebody has just asked
        await asyncio.sleep(_BETWEEN)
        return await client.costs(start_ms=now - _YEAR, end_ms=now)


def ask_balance(settings: Settings) -> Balance | str:
    """Return the balance, or in a sentence why it is not known; takes a few seconds at most."""

    async def ask() -> tuple[ResourcePack, ...]:
        async with provider(settings) as client, asyncio.timeout(_LONGEST):
            return await packs_of(client)

    try:
        return balance_of(asyncio.run(ask()), int(time.time() * SECOND))
    except ReconcilerError as error:
        return in_a_line(error)
    except TimeoutError:
        return f"the provider gave no answer within {_LONGEST:.0f} s"


def warn_if_short(settings: Settings, units: Decimal) -> None:
    """Say on stderr that the packs do not hold what is about to be bought, where that is known."""
    if not has_key(settings):
        return
    balance = ask_balance(settings)
    if isinstance(balance, Balance) and balance.is_short_of(units):
        err.print(f"[bold yellow]warning:[/] {escape(_short(balance, units, settings.unit_price))}")


def balance_sentences(balance: Balance | str, units: Decimal, price: UnitPrice | None) -> list[str]:
    """Return what `plan --refresh` says of the account, for a plan of so many units."""
    if isinstance(balance, str):
        return [f"Balance: not known: {balance}"]
    if not balance.listed:
        return ["Balance: the account lists no packs (a postpaid account has none)."]
    if not balance.usable:
        said = ["Balance: no pack can be used."]
    else:
        told = (
            "an unknown amount"
            if balance.remaining is None
            else units_and_money(balance.remaining, price)
        )
        count = counted(len(balance.usable), "pack")
        ends = balance.next_expiry
        until = "" if ends is None else f"; the next one expires on {day_of(ends)}"
        said = [f"Balance: {told} in {count}{until}."]
    if balance.is_short_of(units):
        short = _short(balance, units, price)
        said.append(f"{short[:1].upper()}{short[1:]}.")
    return said


def expiry_warnings(balance: Balance, now: int) -> list[str]:
    """Return a sentence for every usable pack that ends within a week; `now` is in ms."""
    return [
        f"{pack.name or 'A pack'} expires on {day_of(pack.invalid_at)}, and "
        f"{_left(pack)} units in it will be lost unless they are used before then"
        for pack in balance.usable
        if pack.invalid_at is not None and pack.invalid_at - now < SOON
    ]


def _short(balance: Balance, units: Decimal, price: UnitPrice | None) -> str:
    left = units_text(balance.remaining) if balance.remaining else "no"
    return (
        f"the account's packs hold {left} units, and this is expected to cost "
        f"{units_and_money(units, price)}: they will not be enough, unless the account is also billed afterwards"
    )


def _left(pack: ResourcePack) -> str:
    return "what is left of the" if pack.remaining is None else str(units_text(pack.remaining))
