"""The provider's client by the settings, and the account's balance."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import aclosing
from decimal import Decimal
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from reconciler.cli.project import Folder
from reconciler.cli.terminal import warn
from reconciler.cli.views import units_and_money
from reconciler.core.errors import ReconcilerError, SettingsError, counted, in_a_line
from reconciler.core.moments import day_of
from reconciler.core.schedule import DAY, SECOND
from reconciler.core.spending import UnitPrice, units_text
from reconciler.core.states import LIVE, Record, Status
from reconciler.engine.observe.survey import Survey
from reconciler.kling.errors import SlowDown
from reconciler.kling.wire import Balance, ResourcePack, balance_of
from reconciler.settings.definitions import Settings

if TYPE_CHECKING:
    from reconciler.kling.auth import Credentials
    from reconciler.kling.client import KlingClient
    from reconciler.kling.network import Network

_LONGEST = 4.0  # s that buying waits for the balance
_BETWEEN = 1.1  # s; one question a second is allowed (documented)
_YEAR = 365 * DAY


def has_key(settings: Settings) -> bool:
    """Whether a complete key is set."""
    return bool(settings.access_key and settings.secret_key) or settings.api_key is not None


def require_provider(folder: Folder, records: Mapping[str, Record]) -> None:
    """Remember the host; raises SettingsError: a key is missing, or tasks are under way at another host."""
    credentials(folder.settings)
    repository, settings = folder.repository, folder.settings
    host = "loopback" if settings.is_simulated else urlsplit(settings.base_url).hostname or ""
    known = repository.recall("host") or host
    waiting = sum(
        record.status in LIVE or record.status is Status.SUCCEEDED for record in records.values()
    )
    if known != host and waiting:
        back = "the simulator" if known == "loopback" else known
        hint = f"Set KLING_BASE_URL back to {back} and run `apply` there until they are saved."
        raise SettingsError(
            f"{counted(waiting, 'task')} {'is' if waiting == 1 else 'are'} under way at {known}, but KLING_BASE_URL now names {host}",
            hint=hint,
        )
    if repository.recall("host") != host:
        folder.writable.remember("host", host)


def credentials(settings: Settings) -> Credentials:
    """Return the keys; raises SettingsError: they are missing, or half of a pair is."""
    from reconciler.kling.auth import Credentials

    access, secret, static = settings.access_key, settings.secret_key, settings.api_key
    if access and secret:
        return Credentials(
            access_key=access.get_secret_value(), secret_key=secret.get_secret_value()
        )
    if static:
        return Credentials(api_key=static.get_secret_value())
    missing = "no key for the Kling API is set"
    if access or secret:
        missing = f"KLING_{'SECRET' if access else 'ACCESS'}_KEY is missing"
    hint = "Set KLING_ACCESS_KEY and KLING_SECRET_KEY (or KLING_API_KEY) in the environment or in `.env`; `reconciler demo` needs none."
    raise SettingsError(missing, hint=hint)


def allowed_networks(settings: Settings) -> tuple[Network, ...]:
    """Return the private networks that media may lie in: those of the settings, and loopback for the simulator."""
    from reconciler.kling.network import LOOPBACK

    return (*settings.allowed_networks, *(LOOPBACK if settings.is_simulated else ()))


def open_client(settings: Settings) -> aclosing[KlingClient]:
    """Return the client, to be entered; raises SettingsError: no key, or a base URL without https (or loopback)."""
    from reconciler.kling.client import KlingClient

    keys, timeout = credentials(settings), settings.request_timeout
    return aclosing(KlingClient(base_url=settings.base_url, credentials=keys, timeout=timeout))


def refreshed(folder: Folder, survey: Survey) -> dict[str, Record]:
    """Ask for what is wanted and not settled; return what is known then. Raises ProviderError."""
    from reconciler.engine.ask import poll
    from reconciler.engine.ask.answers import Answers

    async def ask() -> dict[str, Record]:
        async with open_client(folder.settings) as client:
            answers, wishes = Answers(client, folder.repository), survey.desired.generations
            return await poll.refreshed(answers, survey.records, wishes)

    return asyncio.run(ask())


async def packs_of(client: KlingClient) -> tuple[ResourcePack, ...]:
    """Return the account's packs. Raises ProviderError."""
    now = int(time.time() * SECOND)
    try:
        return await client.costs(start_ms=now - _YEAR, end_ms=now)
    except SlowDown:  # another program has just asked
        await asyncio.sleep(_BETWEEN)
        return await client.costs(start_ms=now - _YEAR, end_ms=now)


def ask_balance(settings: Settings) -> Balance | str:
    """Return the balance, or why it is not known as a sentence; takes a few seconds at most."""

    async def ask() -> tuple[ResourcePack, ...]:
        async with open_client(settings) as client, asyncio.timeout(_LONGEST):
            return await packs_of(client)

    try:
        return balance_of(asyncio.run(ask()), int(time.time() * SECOND))
    except ReconcilerError as error:
        return in_a_line(error)
    except TimeoutError:
        return f"the provider gave no answer within {_LONGEST:.0f} s"


def warn_if_short(settings: Settings, units: Decimal) -> None:
    """Warn where the account's packs are known to hold less than these units."""
    balance = ask_balance(settings) if has_key(settings) else None
    if isinstance(balance, Balance) and balance.is_short_of(units):
        warn(_short(balance, units, settings.unit_price))


def balance_sentences(balance: Balance | str, units: Decimal, price: UnitPrice | None) -> list[str]:
    """Return the sentences of `plan --refresh` about the account, for a plan of so many units."""
    if isinstance(balance, str):
        return [f"Balance: not known: {balance}"]
    if not balance.listed:
        return ["Balance: the account lists no packs (a postpaid account has none)."]
    if not balance.usable:
        said = ["Balance: no pack can be used."]
    else:
        left = balance.remaining
        held = "an unknown amount" if left is None else units_and_money(left, price)
        count = counted(len(balance.usable), "pack")
        ends = balance.next_expiry
        until = "" if ends is None else f"; the next one expires on {day_of(ends)}"
        said = [f"Balance: {held} in {count}{until}."]
    if balance.is_short_of(units):
        short = _short(balance, units, price)
        said.append(f"{short[:1].upper()}{short[1:]}.")
    return said


def _short(balance: Balance, units: Decimal, price: UnitPrice | None) -> str:
    left = units_text(balance.remaining) if balance.remaining else "no"
    return (
        f"the account's packs hold {left} units, and this is expected to cost "
        f"{units_and_money(units, price)}: they will not be enough, unless the account is also billed afterwards"
    )
