"""The status page as HTML; its template escapes everything, names and the provider's words too."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from reconciler.core.diff import NEEDS_SOMEBODY
from reconciler.core.states import Status

_KEPT_S = 2.0  # for which an answer is given again: many tabs, or one that asks in a loop, cost one document

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class StatusSource:
    """The functions that give the pages their data: called on the event loop, and quick."""

    document: Callable[[], Document]  # of `status --json`
    health: Callable[[], Document]
    """`ok` (bool), `since`, `last_look` (ISO 8601), `in_flight` (count), `trouble` and `paused` (a sentence, or empty),
    and `provider` (`answers`, or a sentence about its silence)."""
    unready: Callable[[], Sequence[str]]  # sentences: why nothing can be bought
    awake: Callable[[], Awaitable[None]]  # returns once the document says all


def recent(make: Callable[[], str]) -> Callable[[], str]:
    """Return a function that gives a text which is made at most every two seconds; raises what making it raises."""
    made: tuple[float, str] | None = None

    def get() -> str:
        nonlocal made
        if made is None or monotonic() - made[0] >= _KEPT_S:
            made = monotonic(), make()
        return made[1]

    return get


_TEMPLATES = Environment(
    loader=PackageLoader("reconciler.web"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_UNDER_WAY = (Status.SUCCEEDED, Status.PROCESSING, Status.SUBMITTED, Status.SUBMITTING)
_SECTIONS = (
    ("Needs you", "needs", [status for status in Status if status in NEEDS_SOMEBODY], 100),
    ("Under way", "under-way", _UNDER_WAY, 100),
    ("Waiting", "waiting", [Status.PENDING], 25),
    ("Complete, newest first", "complete", [Status.COMPLETE], 50),
)
"""The parts of the page: heading, tone, statuses, and the most rows."""


def status_page(document: Document, health: Document) -> str:
    """Return the whole page."""
    sections = _sections(document["generations"])
    return page(
        "status",
        sections=sections,
        count={section["tone"]: section["count"] for section in sections},
        total=len(document["generations"]),
        health=health,
        since=_time(health["since"]),
        last_look=_time(health["last_look"]),
        is_silent=health["provider"] != "answers",
    )


def page(name: str, **shown: object) -> str:
    """Return the page `status`, or `trouble` or `login`, which show a `sentence`."""
    return _TEMPLATES.get_template(f"{name}.html").render(shown)


def _sections(rows: Sequence[Document]) -> list[dict[str, Any]]:
    found, sections = defaultdict[str, list[Document]](list), []
    for row in rows:
        found[row["status"]].append(row)
    for title, tone, statuses, most in _SECTIONS:
        mine = [row for status in statuses for row in found[status]]
        if tone == "complete":
            # The provider's id: a decimal number that grows with time, as seen.
            mine.sort(
                key=lambda row: (len(row["task_id"] or ""), row["task_id"] or ""), reverse=True
            )
        shown = {"title": title, "tone": tone, "rows": mine[:most], "count": len(mine)}
        sections.append(shown)
    return sections


def _time(text: str) -> str:
    """Return a moment in this machine's time zone, for people; a text that is no time stays as it is."""
    try:
        return datetime.fromisoformat(text).astimezone().strftime("%d %b, %H:%M:%S")
    except ValueError:
        return text
