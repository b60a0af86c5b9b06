"""The provider's JSON, read into values and written from them: pure, and forgiving of everything but a missing id.

Any field may be absent, of another type or a new word: then it counts as not said. Nothing raises but `Unreadable`.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final

from reconciler.core.identity import may_name
from reconciler.core.moments import milliseconds
from reconciler.core.spending import total
from reconciler.core.states import Task, TaskState, Video
from reconciler.kling.errors import Unreadable

LONGEST_TEXT: Final = 1000  # characters of a sentence meant for people
_SIGNED = re.compile(r"""(https?://[^\s?"'<>]+)\?[^\s"'<>]+""")
_STATES: Final = {
    "submitted": TaskState.SUBMITTED,
    "processing": TaskState.PROCESSING,
    "succeed": TaskState.SUCCEEDED,  # D
    "succeeded": TaskState.SUCCEEDED,  # O: the newer family of the API
    "failed": TaskState.FAILED,
}
_ONLINE: Final = "online"  # documented; a pack in any other status pays for nothing now
_DECIMAL: Final = re.compile(r"[0-9]{1,12}(\.[0-9]{1,12})?")


@dataclass(frozen=True, slots=True)
class Envelope:
    """What every answer of the API is wrapped in (D); code 0 is success."""

    code: int
    message: str
    request_id: str
    data: object


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourcePack:
    """A prepaid pack of units (D); quantities in units, times in ms by the provider's clock."""

    name: str
    status: str  # toBeOnline, online, expired or runOut
    total: Decimal | None
    remaining: Decimal | None
    invalid_at: int | None


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


def parse_envelope(raw: bytes) -> Envelope:
    """Return the envelope of an answer; raises Unreadable for anything that is not one, such as a proxy's page."""
    try:
        # float is never used: quantities keep their digits.
        answer = json.loads(raw, parse_float=Decimal, parse_constant=_refuse_constant)
    except (ValueError, ArithmeticError, RecursionError):
        raise Unreadable from None
    code = _integer(answer.get("code")) if isinstance(answer, dict) else None
    if code is None:
        raise Unreadable
    return Envelope(
        code, sentence(answer.get("message")), text(answer.get("request_id")), answer.get("data")
    )


def parse_task(data: object) -> Task:
    """Return one task of an answer's `data`; raises Unreadable when it has no id that a task can be known by."""
    fields = _mapping(data)
    # `id`: the newer family, O
    task_id = _identifier(fields.get("task_id")) or _identifier(fields.get("id"))
    if not task_id:
        raise Unreadable("The answer names no task.")
    said = sentence(fields.get("task_status"))
    info = _mapping(fields.get("task_info"))
    return Task(
        task_id=task_id,
        state=_STATES.get(said.lower(), TaskState.UNLISTED),
        said=said,
        external_task_id=_identifier(info.get("external_task_id")),
        message=sentence(fields.get("task_status_msg")),
        videos=_videos(_mapping(fields.get("task_result")).get("videos")),
        units=_decimal(fields.get("final_unit_deduction")),
        paid=_paid(_mapping(fields.get("final_balance_deduction"))),
        created_at=_milliseconds(fields.get("created_at")),
        updated_at=_milliseconds(fields.get("updated_at")),
    )


def parse_tasks(data: object) -> tuple[Task, ...]:
    """Return the tasks of a page; an entry without an id is left out, it must not hide the others."""
    if data is None or data == {}:
        return ()
    if not isinstance(data, list):
        raise Unreadable("The answer holds no list of tasks.")
    tasks = []
    for entry in data:
        with suppress(Unreadable):
            tasks.append(parse_task(entry))
    return tuple(tasks)


def find_task(data: object, asked: str, *, ours: bool = False) -> Task | None:
    """Return the task that was asked for by either id, None for an empty answer (O: `[]`, U: `null`, `{}`).

    `ours` says that the id is the one that we gave the task: then a single task without such an id, or with a part
    of it, is that task. Raises Unreadable when the answer is about other tasks.
    """
    if data is None or data in ("", [], {}):
        return None
    tasks = parse_tasks(data) if isinstance(data, list) else (parse_task(data),)
    for task in tasks:
        if asked in (task.task_id, task.external_task_id):
            return task
    if ours and not isinstance(data, list) and may_name(tasks[0].external_task_id, asked):
        return tasks[0]
    raise Unreadable("The answer is about another task than the one asked for.")


def parse_verdict(envelope: Envelope) -> Envelope:
    """Return the envelope with the second code and message that the balance's `data` holds (D), 0 when it has none."""
    fields = _mapping(envelope.data)
    code = _integer(fields.get("code")) or 0
    return replace(envelope, code=code, message=sentence(fields.get("msg")))


def parse_packs(data: object) -> tuple[ResourcePack, ...]:
    """Return the account's packs; raises Unreadable when the answer holds no list of them."""
    packs = _mapping(data).get("resource_pack_subscribe_infos")
    if not isinstance(packs, list):
        raise Unreadable("The answer holds no list of resource packs.")
    return tuple(
        ResourcePack(
            name=sentence(entry.get("resource_pack_name")),
            status=sentence(entry.get("status")),
            total=_decimal(entry.get("total_quantity")),
            remaining=_decimal(entry.get("remaining_quantity")),
            invalid_at=_milliseconds(entry.get("invalid_time")),
        )
        for entry in packs
        if isinstance(entry, dict)
    )


def balance_of(packs: Sequence[ResourcePack], now: int) -> Balance:
    """Return the balance at a time (ms): packs that are online, not over, and not empty."""
    online = (pack for pack in packs if pack.status == _ONLINE and pack.remaining != Decimal(0))
    usable = tuple(p for p in online if p.invalid_at is None or p.invalid_at > now)
    known = [pack.remaining for pack in usable if pack.remaining is not None]
    ends = [pack.invalid_at for pack in usable if pack.invalid_at is not None]
    remaining = total(known) if len(known) == len(usable) else None
    return Balance(len(packs), usable, remaining, min(ends, default=None))


def create_body(
    request: Mapping[str, object], *, external_task_id: str, callback_url: str = ""
) -> dict[str, object]:
    """Return the body of a create for what its kind sends; bytes become raw Base64 without a `data:` prefix (D)."""
    body = {
        key: base64.b64encode(value).decode("ascii") if isinstance(value, bytes) else value
        for key, value in request.items()
    }
    called_back = {"callback_url": callback_url} if callback_url else {}
    return {**body, "external_task_id": external_task_id, **called_back}


def text(value: object) -> str:
    """Return a string that can be stored and shown: no lone surrogate, no control character; "" for other types."""
    if not isinstance(value, str):
        return ""
    clean = value.encode("utf-8", "replace").decode("utf-8")
    if not clean.isprintable():
        clean = "".join(c if c.isprintable() else " " for c in clean)
    return clean.strip()


def sentence(value: object) -> str:
    """Return text for people, cut to `LONGEST_TEXT`, its URLs without their query: the provider may quote signed ones."""
    return _SIGNED.sub(r"\1?…", text(value)[: 8 * LONGEST_TEXT])[:LONGEST_TEXT]


def _videos(entries: object) -> tuple[Video, ...]:
    listed = map(_mapping, entries if isinstance(entries, list) else ())
    return tuple(
        Video(url, text(fields.get("watermark_url")))
        for fields in listed
        if (url := text(fields.get("url")))
    )


def _paid(deduction: Mapping[str, object]) -> str:
    """Return what an account that pays cash paid (D, 2026-11), in words; no currency is documented."""
    quota, listed = _decimal(deduction.get("quota")), _decimal(deduction.get("list_price"))
    if quota is None:
        return ""
    price = "" if listed is None else f" (list price {listed})"
    return f"{quota} was deducted from the account's balance{price}"


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _identifier(value: object) -> str:
    """An id is a string of digits (O); one that came as a whole number keeps every digit."""
    return str(value) if type(value) is int else text(value)


def _integer(value: object) -> int | None:
    digits = _identifier(value)
    return int(digits) if re.fullmatch(r"-?[0-9]{1,19}", digits) else None


def _milliseconds(value: object) -> int | None:
    """Return a time in ms (D); other units are converted, and an impossible time counts as not said."""
    number = _integer(value)
    return None if number is None else milliseconds(number)


def _decimal(value: object) -> Decimal | None:
    """Quantities are decimals in strings (D); a number is taken too, an exponent, a sign or a word is not."""
    digits = str(value) if type(value) in (int, Decimal) else text(value)
    return Decimal(digits) if _DECIMAL.fullmatch(digits) else None


def _refuse_constant(word: str) -> object:
    raise ValueError(word)
