"""What nobody here can say about the provider: one knob for each, set as documented or observed, or else to the tame side.

The client must be right whichever way each of them turns out. What one of these does is somebody else's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Unknowns:
    """Times are in seconds, `…_s`: virtual ones for what a task does, REAL ones for what a slow index does."""

    # Creates
    duplicate_ids: Literal["refuse", "first", "bill_again"] = "refuse"
    """What a second create with a used external id gets: an error (observed on other kinds), the first task, or a
    second, billed one."""
    duplicate_code: int = 1201
    """The code of that error."""
    used_ids: Literal["for_ever", "until_failed", "until_cleared"] = "for_ever"
    """Until when an external id counts as used: also after its task has failed, or its file was cleared, or not."""
    external_id_pattern: str = ""
    """A regular expression that external ids must match in full (length and alphabet are unknown); empty for none."""
    external_id_cut: int = 0
    """External ids are cut to so many characters when they are stored; 0 for never."""
    failed_tasks: Literal["free", "charged"] = "free"
    """Whether a failed task gives its units back (observed: it is not charged)."""
    billed_by: Literal["reference", "result"] = "reference"
    """Whose length is billed: the reference's (documented), or the result's (documented on newer pages). The
    reference's is what its header says or what its frames last, whichever is longer. In either case the seconds are
    rounded to the nearest whole one (documented)."""
    element_ids: Literal["numbers", "any"] = "numbers"
    """Whether an element's id must be a number (documented), or may be a string, too (what real clients send)."""
    slots: Literal["by_model", "by_account"] = "by_model"
    """Whether each model version has all slots of the account (documented), or all models share them."""

    # Queries
    unknown_ids: Literal["400", "404", "empty", "null", "list"] = "400"
    """What a query for an id that nobody used gets: 1201 (observed), 1203, or success with `{}`, `null`, `[]`."""
    query_lag_s: float = 0.0
    """REAL seconds during which a query by external id does not see a new task."""
    stale_every: int = 0
    """Every so many-th query for a task shows the status before its present one; 0 for none."""
    hidden_from_s: float = 0.0
    """REAL seconds after its create from which on a task is in no answer at all, for `hidden_s`."""
    hidden_s: float = 0.0
    """REAL seconds for which a task is in no answer at all; then it is back."""
    alien_status: str = ""
    """A status in no list, shown for the middle third of `processing`."""

    # The list
    list_order: Literal["newest", "oldest", "shuffled"] = "newest"
    """The order of the list (observed: newest first)."""
    list_lag_s: float = 0.0
    """REAL seconds during which the list does not show a new task."""
    list_stale_s: float = 0.0
    """Virtual seconds by which the statuses in the list are older than those of queries."""
    list_shift: int = 0
    """Tasks of others that come between two pages, so that some are listed twice; negative: that go, so that some
    are listed on no page."""

    # Results
    videos_late_s: float = 0.0
    """Virtual seconds after the end during which a succeeded task lists no video."""
    cleared: Literal["dead_url", "no_url", "unknown"] = "dead_url"
    """What becomes of a task whose file was cleared: listed with a URL that is dead (observed), there with an empty URL,
    or forgotten."""
    deduction: Literal["shown", "missing", "late", "changed"] = "shown"
    """`final_unit_deduction` of an ended task: there, never, after `deduction_s`, or another one before that."""
    deduction_s: float = 60.0
    """Virtual seconds after a task's end until its deduction is there, or final."""
    balance_deduction: Literal["missing", "shown"] = "missing"
    """`final_balance_deduction` beside it, as accounts have it that pay cash (documented)."""
    balance_lag_s: float = 0.0
    """Virtual seconds after a task's end until the balance shows its units (observed: they are taken at the end;
    documented: up to 12 hours later)."""

    # The form of answers
    data_form: Literal["object", "list"] = "object"
    """Whether `data` of a create and of a query is the task, or a list that holds it."""
    status_form: Literal["documented", "capital", "upper", "succeeded"] = "documented"
    """How a status is spelt: as documented, `Succeed`, `SUCCEED`, or with `succeeded` (observed: the newer API)."""
    id_form: Literal["text", "number", "renamed"] = "text"
    """Whether ids are strings (observed), numbers, or strings called `id` (observed: the newer API)."""
    external_ids: Literal["shown", "missing"] = "shown"
    """Whether answers name the caller's own id."""
    number_form: Literal["text", "number"] = "text"
    """Whether durations and deductions are decimals in strings (documented) or numbers."""
    duration_form: Literal["exact", "empty", "missing", "wrong"] = "exact"
    """The duration of a video: what it plays, `""`, not there, or a word."""

    # Callbacks
    callbacks: Literal["on", "off"] = "on"
    """Whether changes of status are posted to a task's `callback_url`; only loopback ones are ever contacted."""
    callback_first: Literal["submitted", "processing"] = "submitted"
    """The first change that is told (unknown whether the creation itself is one)."""
    callback_order: Literal["kept", "reversed"] = "kept"
    """`reversed` tells the end first, and the rest as long after it as it had happened before."""
    callback_late_s: float = 0.0
    """How late a call can come; each draws its own delay up to this, so that they can overtake each other."""
    callback_repeats: int = 0
    """How often every call is made again; each repeat draws its own delay."""
    callback_lost: float = 0.0
    """The share of calls, 0 to 1, that are never made."""
    callback_timeout_s: float = 5.0
    """REAL seconds after which an answer to a call is not waited for any longer; it is not made again."""
